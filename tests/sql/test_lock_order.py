"""docs/locks.md, read off the statements: tasks before unique keys before counts, and rows of tasks in one order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SQL = Path(__file__).parents[2] / "sql"
ORDER = ("tasks", "unique_keys", "counts", "attempts")
# Whoever inserts a task may hold its key already: nobody can wait for a row that is not committed.
WRITE = re.compile(r"\b(?:update|delete from|insert into) pgq\.(tasks|unique_keys|counts|attempts)\b")
LOCK = re.compile(r"for (?:no key )?update(?: of t)?(?: skip locked)?\b")
# These take the key of a task before they change it, of which they hold the row already.
HELD = {"replay_dead"}


def pieces() -> dict[str, str]:
    """Return every statement, and every function by itself, without comments."""
    found = {path.stem: path.read_text("utf-8") for path in (SQL / "queries").glob("*.sql")}
    for path in (SQL / "functions").glob("*.sql"):
        for text in re.split(r"(?=^create or replace function )", path.read_text("utf-8"), flags=re.MULTILINE)[1:]:
            name = re.match(r"create or replace function (\S+?)\(", text)[1]
            found[name] = found.get(name, "") + text
    return {name: re.sub(r"--.*", "", text) for name, text in found.items()}


PIECES = pieces()


def breach(name: str, text: str) -> str | None:
    """Return what is taken out of order, or None."""
    held = re.search(r"from pgq\.tasks as t\n.*?for no key update of t", text, re.DOTALL) if name in HELD else None
    taken = ["tasks"] if held else []
    for match in WRITE.finditer(text):
        table = match[1]
        if table == "tasks" and (match[0].startswith("insert") or held):
            continue
        if table in {"counts", "attempts"} and match[0].startswith("insert"):
            continue
        if any(ORDER.index(before) > ORDER.index(table) for before in taken) and name != "pgq.enqueue_keyed":
            return f"{table} after {taken}"
        taken.append(table)
    return None


@pytest.mark.parametrize("name", sorted(PIECES))
def test_tasks_are_locked_before_unique_keys_and_those_before_counts(name: str) -> None:
    assert breach(name, PIECES[name]) is None


def test_a_replace_locks_the_holder_before_its_key() -> None:
    text = PIECES["pgq.enqueue_keyed"]
    assert text.index("update pgq.tasks as t") < text.index("update pgq.unique_keys as k set task_id")


@pytest.mark.parametrize("name", [name for name, text in sorted(PIECES.items()) if LOCK.search(text)])
def test_several_tasks_are_locked_by_their_due_time_and_id(name: str) -> None:
    text = PIECES[name]
    for match in LOCK.finditer(text):
        head = text[: match.start()]
        if "pgq.tasks" in head[head.rindex("select") :] or "from pgq.%I" in head[head.rindex("select") :]:
            order = head[head.rindex("order by") :]
            assert re.match(r"order by (t\.)?scheduled_at, (t\.)?id\b", order), order
            assert "skip locked" in match[0] or name == "pgq.retry"


def test_a_statement_out_of_order_is_found() -> None:
    wrong = "delete from pgq.unique_keys where true;\nupdate pgq.tasks set lease = null"
    assert breach("wrong", wrong) == "tasks after ['unique_keys']"
