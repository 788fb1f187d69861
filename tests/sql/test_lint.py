"""The statements as data: each parses, says what it returns, and the line's name exactly one queue."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from pgq import statements

FILES = statements.files("queries")
LINE = [
    "add_timings",
    "begin",
    "claim",
    "complete",
    "copy_defaults",
    "enqueue",
    "enqueue_many",
    "enqueue_unique",
    "forget",
    "glance",
    "next_due",
    "oldest_processing",
    "recover",
    "settle",
]
TABLES = {"attempts", "counts", "queues", "tasks", "unique_keys"}

every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
line_file = pytest.mark.parametrize("name", LINE)


def parse(name: str) -> exp.Expression:
    (tree,) = sqlglot.parse(statements.query(name), dialect="postgres")
    return tree


def scope_of(node: exp.Expression) -> exp.Expression:
    """Return the innermost statement or subquery around a node."""
    return node.find_ancestor(exp.Select, exp.Update, exp.Delete, exp.Insert)


def queues_named(scope: exp.Expression, table: exp.Table) -> list[str]:
    """Return what the queue of this table is compared with by equality, right where the table is used."""
    column = "name" if table.name == "queues" else "queue"
    alias = table.alias_or_name
    found = []
    for equality in scope.find_all(exp.EQ):
        left, right = equality.left, equality.right
        if scope_of(equality) is not scope or equality.find_ancestor(exp.Or) is not None:
            continue
        if isinstance(left, exp.Column) and left.name == column and left.table in {alias, ""}:
            found.append(right.sql(dialect="postgres"))
    return found


@every_file
def test_a_file_is_one_statement_that_parses(file: Path) -> None:
    assert isinstance(parse(file.stem), exp.Select | exp.Insert | exp.Update | exp.Delete)


@every_file
def test_a_header_says_its_name_and_its_rows(file: Path) -> None:
    header = [line for line in file.read_text("utf-8").splitlines() if line.startswith("--")]
    assert header[0].startswith(f"-- {file.stem}: ")
    assert any(re.match(r"-- rows:  \S", line) for line in header)


@every_file
def test_the_header_stands_before_the_statement_and_nothing_is_hidden_in_it(file: Path) -> None:
    lines = file.read_text("utf-8").splitlines()
    first = next(place for place, line in enumerate(lines) if not line.startswith("--"))
    assert [line for line in lines[first:] if "--" in line] == []


@every_file
def test_no_star_leaves_a_statement(file: Path) -> None:
    tree = parse(file.stem)
    returning = tree.args.get("returning")
    leaving = returning.expressions if returning else getattr(tree, "selects", [])
    assert [column for column in leaving if column.is_star] == []


@every_file
def test_values_are_parameters_by_name(file: Path) -> None:
    text = statements.query(file.stem)
    assert re.findall(r"%(?!\()", text) == []


@line_file
def test_a_line_statement_touches_a_table_only_by_one_queue(name: str) -> None:
    tree = parse(name)
    for table in tree.find_all(exp.Table):
        scope = scope_of(table)
        if table.db != "pgq" or table.name not in TABLES or isinstance(scope, exp.Insert):
            continue
        assert queues_named(scope, table) == ["%(queue)s"], f"{name} reads {table.name}"


@line_file
def test_a_line_statement_writes_rows_of_that_queue_only(name: str) -> None:
    for insert in parse(name).find_all(exp.Insert):
        place = [column.name for column in insert.this.expressions].index("queue")
        value = insert.expression.selects[place].sql(dialect="postgres")
        assert value in {"%(queue)s", "lane.name"}


@line_file
def test_a_line_statement_takes_the_queue_as_a_value(name: str) -> None:
    assert "%(queue)s" in statements.query(name)
