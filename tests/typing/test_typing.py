"""What a type checker says about right and wrong uses: one run of mypy for all of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

HEADER = """
from typing import Any, reveal_type
import pgq
from api import app, email, send, send_later, render, tick
conn: Any = None

"""

# A line of code, and a part of what mypy has to say about it.
WRONG = {
    "a wrong name": ('send.enqueue(conn, too="a")', 'Unexpected keyword argument "too" for "enqueue" of "Handler"'),
    "a missing argument": ("send.enqueue(conn)", 'Missing positional argument "to" in call to "enqueue"'),
    "a missing connection": ('send.enqueue(to="a")', 'Too few arguments for "enqueue" of "Handler"'),
    "a wrong type": ("send.enqueue(conn, to=7)", 'Argument "to" to "enqueue" of "Handler" has incompatible type "int"'),
    "a wrong type in second place": ('send.enqueue(conn, "a", 7)', 'has incompatible type "int"; expected "str"'),
    "None where it may not be": (
        'send.enqueue(conn, "a", copies=None)',
        'has incompatible type "None"; expected "int"',
    ),
    "a keyword given by place": ('send.enqueue(conn, "a", "b", 2)', 'Too many positional arguments for "enqueue"'),
    "a wrong element": ('send_later.enqueue(conn, "a", [1])', 'List item 0 has incompatible type "int"'),
    "a wrong extra": ('render.enqueue(conn, {}, width="a")', 'Argument "width" to "enqueue" of "Handler" has'),
    "an argument for none": ("tick.enqueue(conn, 1)", 'Too many arguments for "enqueue" of "Handler"'),
    "a wrong name, async": ('send.aenqueue(conn, too="a")', 'Unexpected keyword argument "too" for "aenqueue"'),
    "a missing argument, async": (
        "send_later.aenqueue(conn)",
        'Missing positional argument "to" in call to "aenqueue"',
    ),
    "a wrong type after options": ("send.options(priority=0).enqueue(conn, to=7)", 'has incompatible type "int"'),
    "a wrong type in a direct call": ("send(7)", 'Argument 1 to "__call__" of "Handler" has incompatible type "int"'),
    "a forgotten await": ('send_later("a") + 1', "Maybe you forgot to use"),
    "an unknown option": ("send.options(prio=1)", "[call-overload]"),
    "an option of a wrong type": ('send.options(priority="high")', "[call-overload]"),
    "an unknown on_conflict": ('send.options(on_conflict="ask")', "[call-overload]"),
    "a naive delay": ('send.options(delay="1 hour")', "[call-overload]"),
    "an unknown option of the decorator": ("email.task(delay=1)", "[call-overload]"),
    "a limit key of a wrong type": ("send.options(limit_key=7)", "[call-overload]"),
    "limit keys of a wrong type": ('send.options(limit_key=["customer:a", 7])', 'expected "str"'),
    "limit keys as bytes": ('send.options(limit_key=b"customer:a")', 'incompatible type "bytes"'),
    "a weight of a wrong type": ('send.options(weight="3")', "[call-overload]"),
    "no weight": ("send.options(weight=None)", "[call-overload]"),
    "a fraction of a weight": ("email.task(weight=1.5)", "[call-overload]"),
    "a limit key of a wrong type on a task": ("email.task(limit_key=7)", "[call-overload]"),
    "a rate that is a number": ('app.key_limit("a", rate=10)', 'has incompatible type "int"; expected "Rate | None"'),
    "a concurrency that is text": ('app.key_limit("a", concurrency="2")', 'has incompatible type "str"'),
    "a limit without a name": ("app.key_limit(concurrency=2)", 'Missing positional argument "name"'),
    "many as one mapping": ('send.enqueue_many(conn, {"to": "a"})', "incompatible type"),
    "many that are no mappings": ('send.enqueue_many(conn, ["a"])', 'expected "Mapping[str, Any]"'),
    "a skipped id used as an int": (
        'send.options(on_conflict="skip").enqueue(conn, to="a") + 1',
        "Unsupported operand types for +",
    ),
    "an unknown outcome argument": ("pgq.Retry(later=1)", 'Unexpected keyword argument "later" for "Retry"'),
}
REVEALED = {
    "an id": ('send.enqueue(conn, to="a")', "int"),
    "an id, or none where skipped": ('send.options(on_conflict="skip").enqueue(conn, to="a")', "int | None"),
    "skip stays through more options": (
        'send.options(on_conflict="skip").options(unique_key="k").enqueue(conn, to="a")',
        "int | None",
    ),
    "skip can be taken back": (
        'send.options(on_conflict="skip").options(on_conflict="raise").enqueue(conn, to="a")',
        "int",
    ),
    "an awaitable id": ('send.aenqueue(conn, to="a")', "typing.Coroutine[Any, Any, int]"),
    "many ids": ("send.enqueue_many(conn, [])", "list[int]"),
    "a direct call": ('send("a")', "bool"),
    "a direct call of a coroutine": ('send_later("a")', "typing.Coroutine[Any, Any, int]"),
    "the handler itself": (
        "send_later",
        "pgq.typed.Handler[[to: str, tags: list[str] | None =], typing.Coroutine[Any, Any, int], int]",
    ),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """Check api.py and all the lines at once; returns what was said about each line of them."""
    lines = [*(code for code, _ in WRONG.values()), *(f"reveal_type({code})" for code, _ in REVEALED.values())]
    path = tmp_path_factory.mktemp("typing") / "uses.py"
    path.write_text(HEADER + "\n".join(lines) + "\n")
    cache = ROOT / ".mypy_cache" / "typing"  # its own: somebody else may be checking the package now
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "pyproject.toml", "--cache-dir", str(cache)]
    answer = subprocess.run(
        [*command, "--no-error-summary", "--hide-error-context", "--no-pretty", str(path), "tests/typing/api.py"],
        cwd=ROOT, env={"MYPYPATH": str(ROOT / "tests" / "typing")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.stderr == ""
    found: dict[int, str] = {}
    for line in answer.stdout.splitlines():
        match = re.match(r".*?([\w]+\.py):(\d+): (.*)", line)
        assert match, line
        assert match[1] == "uses.py", f"api.py must be free of errors: {line}"
        number = int(match[2]) - HEADER.count("\n") - 1
        found[number] = f"{found.get(number, '')}{match[3]}\n"
    return found


@pytest.mark.parametrize("name", WRONG)
def test_mypy_catches(said: dict[int, str], name: str) -> None:
    place = list(WRONG).index(name)
    assert "error: " in said.get(place, "nothing")
    assert WRONG[name][1] in said[place]


@pytest.mark.parametrize("name", REVEALED)
def test_mypy_sees(said: dict[int, str], name: str) -> None:
    place = len(WRONG) + list(REVEALED).index(name)
    revealed = said[place].replace("builtins.", "").replace("Union[int, None]", "int | None")
    assert f'note: Revealed type is "{REVEALED[name][1]}"\n' in revealed
