"""docs/guarantees.md: every promise names tests, and they exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
NODES = sorted(set(re.findall(r"^- `(tests/[^`]+)`$", PAGE, re.MULTILINE)))
PROMISES = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]


@pytest.mark.parametrize("node", NODES)
def test_a_test_that_holds_a_promise_exists(node: str) -> None:
    path, _, name = node.partition("::")
    functions = {each.name for each in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))) if hasattr(each, "name")}
    assert not name or name in functions


def test_every_promise_names_its_tests_and_what_is_not_promised() -> None:
    assert [promise[:2] for promise in PROMISES[:9]] == [f"{number}." for number in range(1, 10)]
    for promise in PROMISES:
        assert "- `tests/" in promise, promise.splitlines()[0]
        assert "\nNot promised: " in promise, promise.splitlines()[0]


def test_the_readme_leads_there() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert "(docs/guarantees.md)" in readme
    assert "(docs/locks.md)" in PAGE + readme
