"""Every command with words that nobody means to give: an exit code that is documented, one sentence, no traceback.

The commands and their parameters are those that click knows: a new one is tried without being named here, but for how
to call it properly, in FINE.
"""

# ruff: noqa: E501 - long lists of words

from __future__ import annotations

import json
from collections.abc import Iterator

import click
import psycopg
import pytest
from command_line import invoke
from factory import make_queue, make_task, make_worker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgq.cli.__main__ import cli
from pgq.connect import connect

# A call of each command that is fine; the id is filled in.
FINE = {
    "migrate": [], "enqueue": ["jobs", "work", "{}"], "tasks list": [], "tasks show": ["{id}"], "tasks explain": ["{id}"],
    "tasks cancel": ["{id}"], "tasks retry": ["{id}"], "dead replay": ["--queue", "jobs"], "dead purge": ["--queue", "jobs", "--yes"],
    "dead list": [], "dead show": ["{id}"], "queues sync": ["cli_app:app"], "queues list": [], "queues set": ["jobs"],
    "queues pause": ["jobs"], "queues resume": ["jobs"], "limits list": [], "limits show": ["customer"], "limits set": ["customer"], "limits acl": [],
    "workers": [], "stats": [], "sql": ["select 1"], "audit": [], "check": [], "alerts list": [], "alerts add": ["rule", "select 1 as message"],
    "alerts remove": ["rule"], "alerts test": ["rule"], "alerts history": [], "alerts add-target": ["ops", "--webhook", "https://example.org"],
    "alerts remove-target": ["ops"], "doctor": [],
}  # fmt: skip
# They run until they are stopped, or start servers; their own tests have hostile options of theirs.
LEFT_OUT = {"up", "down", "demo", "worker", "top", "dashboard"}
ENDLESS = {("stats", "watch"), ("stats", "interval")}
WORDS = [
    "", " ", "-", "--", "-1", "0", "9223372036854775808", "9" * 5000, "1e400", "nan", "inf", "none", "'; drop schema pgq; --",
    "%s%(x)s{}", "a\nb\r", "\u202eabc\u0301", "👩‍👩‍👧", "\udcff", "x" * 10_000, "../../etc/passwd", "999999999999999d",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-23:59", "1/0s", "0/1", "1..2", "a:b", "[]", "{", "\x1b[31m",
]  # fmt: skip
CODES = {0, 1, 2}


def commands(node: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, by its words."""
    if isinstance(node, click.Group):
        for name, child in node.commands.items():
            yield from commands(child, (*path, name))
    else:
        yield " ".join(path), node


COMMANDS = dict(commands())


@pytest.fixture
def place(dsn: str, conn: psycopg.Connection) -> tuple[str, str]:
    """Return a database with something of everything, and the id of a task."""
    make_queue(conn)
    make_worker(conn)
    conn.execute("insert into pgq.limits (name, rate_max, rate_per) values ('customer', 10, 1)")
    for status in ("pending", "processing", "completed"):
        make_task(conn, status=status)
    return dsn, str(make_task(conn, status="dead", last_error="no luck"))


def calls(name: str, word: str, task_id: str) -> Iterator[list[str]]:
    """Yield a command with one word in place of, or beside, each thing that it takes."""
    fine = [part.replace("{id}", task_id) for part in FINE[name]]
    taken = 0
    for parameter in COMMANDS[name].params:
        if parameter.name == "dsn" or (name, parameter.name) in ENDLESS:
            continue
        if isinstance(parameter, click.Argument):
            words = [*fine[:taken], word, *fine[taken + 1 :]]
            taken += 1
            yield [*name.split(), *words]
            yield [*name.split(), "--", *[part for part in words if not part.startswith("--")]]
        else:
            option = max(parameter.opts, key=len)
            given_words = [option] if parameter.is_flag else [f"{option}={word}"] if word[:1] == "-" else [option, word]
            yield [*name.split(), *fine, *given_words]


def check(words: list[str], dsn: str) -> None:
    """Run a command; whatever it says is one sentence of ours or of click."""
    result = invoke(*words, env={"PGQ_DSN": dsn}, stdin="n\n")  # it raises what the command does not catch
    about = [word[:80] for word in words]
    assert result.exit_code in CODES, (about, result.output[-500:])
    assert "Traceback" not in result.output, about
    if result.exit_code == 1 and result.stderr and words[0] not in {"check", "doctor"}:
        assert result.stderr.startswith("pgq: "), (about, result.stderr[:500])
        assert result.stderr.count("\n") <= 2, (about, result.stderr[:500])
    if result.exit_code == 2 and words[0] != "check":
        assert "Error: " in result.stderr, (about, result.stderr[:500])


def test_every_command_is_tried_or_left_out_by_name() -> None:
    assert set(COMMANDS) == set(FINE) | LEFT_OUT


@pytest.mark.parametrize("name", FINE)
def test_a_command_takes_any_word_or_refuses_it_in_a_sentence(place: tuple[str, str], name: str) -> None:
    dsn, task_id = place
    for word in WORDS:
        for words in calls(name, word, task_id):
            check(words, dsn)


@pytest.mark.parametrize("word", WORDS)
def test_a_dsn_may_be_any_word(word: str) -> None:
    for given_words in (["stats", "--dsn", word], ["stats", f"--dsn={word}"]):
        check(given_words, "")


@pytest.mark.parametrize("name", sorted(LEFT_OUT))
def test_a_command_that_runs_on_refuses_words_it_cannot_read(place: tuple[str, str], name: str) -> None:
    dsn, _ = place
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Option) and not parameter.is_flag:
            for word in WORDS:
                check([name, max(parameter.opts, key=len), word, "--no-such-option"], dsn)


TEXT = st.text(st.characters(exclude_characters="\0"), max_size=30)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(sorted(FINE)), data=st.data())
def test_several_hostile_words_at_once(place: tuple[str, str], name: str, data: st.DataObject) -> None:
    dsn, task_id = place
    options = [
        part for part in COMMANDS[name].params
        if isinstance(part, click.Option) and part.name != "dsn" and (name, part.name) not in ENDLESS
    ]  # fmt: skip
    words = [*name.split(), *(part.replace("{id}", task_id) for part in FINE[name])]
    for option in data.draw(st.lists(st.sampled_from(options), max_size=4)) if options else []:
        words += [option.opts[-1]] if option.is_flag else [option.opts[-1], data.draw(st.sampled_from(WORDS) | TEXT)]
    check(words, dsn)


PAYLOADS = {
    "a number of too many digits": f'{{"a": {"9" * 6000}}}',
    "a number beyond a double": '{"a": 1e400, "b": -1e999}',
    "too deep for Python": f'{{"a": {"[" * 3000}{"]" * 3000}}}',
    "no object": "[1, 2]",
}


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_that_python_cannot_read_hides_no_other_task(dsn: str, payload: str) -> None:
    """Which nobody can enqueue, but whoever may write to the table can insert."""
    conn = connect(dsn, "test")
    bad = make_task(conn, status="dead", payload=PAYLOADS[payload], last_error="no luck")
    good = make_task(conn, status="dead", last_error="no luck")
    env = {"PGQ_DSN": dsn}
    for words in (["tasks", "list"], ["dead", "list"]):
        listed = json.loads(invoke(*words, "--json", env=env).stdout, parse_constant=pytest.fail)
        assert {row["id"] for row in listed} == {bad, good}
        assert str(bad) in invoke(*words, env=env).stdout
    for words in (["tasks", "show", bad], ["dead", "show", bad], ["tasks", "explain", bad]):
        assert invoke(*words, env=env).exit_code == 0
        assert invoke(*words, "--json", env=env).exit_code == 0
    assert invoke("tasks", "retry", bad, env=env).exit_code == 0
    conn.close()
