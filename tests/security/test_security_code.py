"""What the code does not do, looked up in its syntax: run what is data, unpickle, start shells."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8"))
    for folder in ("pgq", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "jsonpickle", "commands", "pty"}
CALLS = {"eval", "exec", "compile", "__import__"}
METHODS = {
    *(("os", name) for name in ("system", "popen")),
    *(("yaml", name) for name in ("load", "unsafe_load", "full_load")),
    *(("subprocess", name) for name in ("getoutput", "getstatusoutput")),
    ("asyncio", "create_subprocess_shell"),
}
# Where a module is imported by a name that is not written in the code: the app that whoever starts a worker names.
IMPORTERS = {"pgq/load.py", "pgq/__init__.py"}


def faults(tree: ast.AST) -> list[str]:
    """Return what of a file is not allowed."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names if name.name.split(".")[0] in MODULES]
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            found.append(str(node.module))
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in CALLS:
            found.append(node.func.id)
        if isinstance(node.func, ast.Attribute) and ast.unparse(node.func) in {".".join(pair) for pair in METHODS}:
            found.append(ast.unparse(node.func))
        for keyword in node.keywords:
            if keyword.arg == "shell" and not (
                isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            ):
                found.append("shell=")
    return found


@pytest.mark.parametrize("name", FILES)
def test_nothing_runs_what_is_data(name: str) -> None:
    assert faults(FILES[name]) == []


@pytest.mark.parametrize(
    "text",
    ["import pickle", "from marshal import loads", "eval(x)", "exec('x')", "yaml.load(x)", "os.system(x)",
     "subprocess.run(x, shell=True)", "subprocess.run(x, shell=y)", "asyncio.create_subprocess_shell(x)"],
)  # fmt: skip
def test_the_look_finds_what_it_looks_for(text: str) -> None:
    assert len(faults(ast.parse(text))) == 1


def test_a_module_is_imported_by_name_only_where_the_app_is_loaded() -> None:
    dynamic = {
        name
        for name, tree in FILES.items()
        for node in ast.walk(tree)
        if name.startswith("pgq/") and isinstance(node, ast.Name | ast.Attribute)
        and "import_module" in {getattr(node, "id", ""), getattr(node, "attr", "")}
    }  # fmt: skip
    assert dynamic == IMPORTERS


def test_each_test_that_the_documentation_names_is_there() -> None:
    text = (ROOT / "docs" / "security.md").read_text("utf-8")
    named = set(re.findall(r"`([\w/]*test_\w+\.py)`", text))
    assert len(named) > 8
    for name in named:
        assert (ROOT / name if "/" in name else ROOT / "tests" / "security" / name).is_file(), name


def test_a_handler_comes_from_the_registry_and_from_nowhere_else() -> None:
    """A task's name is only ever looked up in the app; no attribute or module is found by it."""
    for name in ("pgq/run.py", "pgq/child.py", "pgq/children.py", "pgq/app.py"):
        calls = [
            node.func.id
            for node in ast.walk(FILES[name])
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
        assert not {"getattr", "globals", "locals", "vars"} & set(calls) or name == "pgq/app.py", name
