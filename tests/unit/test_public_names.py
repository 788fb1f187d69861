"""`import pgq` gives every public name, and imports what is behind a name only when it is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pgq

ROOT = Path(__file__).parents[2]


def said_by(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT).stdout


def names_for_type_checkers() -> set[str]:
    tree = ast.parse(Path(pgq.__file__).read_text("utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    return {
        alias.asname or alias.name
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize("name", pgq.__all__)
def test_a_public_name_is_there_and_listed(name: str) -> None:
    assert getattr(pgq, name) is not None
    assert name in dir(pgq)


def test_type_checkers_see_the_same_names() -> None:
    assert names_for_type_checkers() | {"__version__"} == set(pgq.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'pgq' has no attribute 'Ap'"):
        _ = pgq.Ap


def test_importing_pgq_imports_no_driver() -> None:
    assert said_by("import sys, pgq; print('psycopg' in sys.modules)") == "False\n"


def test_a_star_import_brings_all_names() -> None:
    assert said_by("from pgq import *; print(App.__name__, context.__name__)") == "App context\n"


@pytest.mark.parametrize(
    "first", ["import pgq.run", "import pgq.context", "from pgq.context import CURRENT", "import pgq"]
)
def test_context_is_the_function_whatever_was_imported_first(first: str) -> None:
    assert said_by(f"{first}\nimport pgq\nprint(type(pgq.context).__name__)") == "function\n"
    assert said_by(f"{first}\nfrom pgq import context\nprint(type(context).__name__)") == "function\n"


def test_modules_of_pgq_are_imported_as_ever() -> None:
    assert said_by("from pgq import migrate\nimport pgq.queue\nprint(migrate.__name__, pgq.queue.__name__)") == (
        "pgq.migrate pgq.queue\n"
    )
