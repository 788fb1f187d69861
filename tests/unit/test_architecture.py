"""The house rules that can be read off the source: which way imports point, how long a function is, what is banned."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "pgq"

# A module may import modules of lower rows only. The stages of the line share a row: none knows another.
RANKS = [
    {"errors", "functions", "redact", "rows", "steps", "version", "statements", "threads"},
    {"config", "meters", "queue", "payload", "scale", "script"},
    {"acl", "seal"},
    {"handler"},
    {"quota", "task"},
    {"db", "connect", "cursor", "grants", "limiter", "options", "trace", "wire"},
    {"audit", "context", "gate", "member", "checkup", "migrate", "readonly", "timings"},
    {"lane", "letters", "logs"},
    {"children", "doorbell", "heartbeat", "keyring", "scout", "upkeep"},
    {"enqueue", "claim", "limit", "run", "settle"},
    {"memory", "orphans", "park", "parts", "renewal", "starts", "typed", "watch"},
    {"door", "entry", "key_desk"},
    {"limiter_loop"},
    {"permits"},
    {"line", "permit", "supervisor", "doctor"},
    {"app"},
    {"load", "ready"},
    {"worker"},
    {"child", "testing"},
    {"embedded", "cli", "demo", "dashboard", "metrics", "alerts"},
]
STAGES = {"enqueue", "claim", "run", "settle", "limit"}

# Where everything may be caught, and why.
CATCHERS = {
    "child.py": "whatever a handler raises is its failed attempt",
    "children.py": "a child whose run was interrupted is killed, then the error goes on",
    "cli/__main__.py": "raised again unless it has a sentence for the user",
    "cli/session.py": "whatever an app raises when it is imported",
    "connect.py": "a connection that was half set up is closed, then the error goes on",
    "db.py": "every driver has its own root; raised again as ours or as it was",
    "errors.py": "a value whose repr fails is still named in a message",
    "heartbeat.py": "a beat must never end the heart",
    "run.py": "whatever a handler raises is its failed attempt",
    "task.py": "an exception whose __str__ fails is still a failed attempt",
    "threads.py": "raised again where the call was made",
    "limiter_loop.py": "what fails in one talk must not end all limits",
    "parts.py": "a part of a worker that fails goes on",
    "trace.py": "what a handler raises is noted on its span, then goes on",
}
LONGEST = 40  # lines of a function, without its docstring

FILES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8")) for path in sorted(ROOT.rglob("*.py"))}
MODULES = sorted({name.split("/")[0].removesuffix(".py") for name in FILES} - {"__init__"})
every_file = pytest.mark.parametrize("name", FILES)


def rank(module: str) -> int:
    """Return the row of a module. Raises AssertionError for one that has none."""
    found = [row for row, names in enumerate(RANKS) if module in names]
    assert len(found) == 1, f"{module} must stand in one row of RANKS"
    return found[0]


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the modules of pgq that a file imports, wherever the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "pgq":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pgq."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("pgq."))


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_rank(module: str) -> None:
    assert rank(module) >= 0


@pytest.mark.parametrize("module", [module for module in MODULES if f"{module}.py" in FILES])
def test_imports_point_one_way(module: str) -> None:
    others = {other for other in imported(FILES[f"{module}.py"]) if other in MODULES}
    assert [other for other in others if rank(other) >= rank(module)] == []


@pytest.mark.parametrize("stage", sorted(STAGES & set(MODULES)))
def test_no_stage_imports_another(stage: str) -> None:
    assert (STAGES - {stage}) & set(imported(FILES[f"{stage}.py"])) == set()


def test_stages_share_a_row() -> None:
    assert len({rank(stage) for stage in STAGES & set(MODULES)}) == 1


@every_file
def test_no_function_is_longer_than_a_screen(name: str) -> None:
    long = []
    for node in ast.walk(FILES[name]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            if node.end_lineno - first.lineno + 1 > LONGEST:
                long.append(node.name)
    assert long == []


def catches_everything(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    return any(
        isinstance(node, ast.Name) and node.id in {"Exception", "BaseException"} for node in ast.walk(handler.type)
    )


@every_file
def test_everything_is_caught_only_where_there_is_a_reason(name: str) -> None:
    catches = any(isinstance(node, ast.ExceptHandler) and catches_everything(node) for node in ast.walk(FILES[name]))
    assert not catches or name in CATCHERS


@pytest.mark.parametrize("name", CATCHERS)
def test_every_reason_to_catch_everything_is_still_needed(name: str) -> None:
    assert any(isinstance(node, ast.ExceptHandler) and catches_everything(node) for node in ast.walk(FILES[name]))


@every_file
def test_nothing_that_runs_data_as_code_is_used(name: str) -> None:
    banned = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml"}
    for node in ast.walk(FILES[name]):
        if isinstance(node, ast.Import):
            assert banned.isdisjoint(alias.name.split(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in banned
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"eval", "exec", "compile"}


@every_file
def test_sqlglot_stays_off_the_line(name: str) -> None:
    modules = {alias.name for node in ast.walk(FILES[name]) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in ast.walk(FILES[name]) if isinstance(node, ast.ImportFrom)}
    assert name == "readonly.py" or not any((module or "").startswith("sqlglot") for module in modules)
