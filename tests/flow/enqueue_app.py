"""The app that the enqueue tests use, and what they look at afterwards."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import dict_row

import pgq

app = pgq.App()
mail = app.queue("mail", timeout=30, max_attempts=3)


@mail.task
def send(to: str, subject: str = "hello") -> str:
    return f"{to}: {subject}"


@mail.task(priority=8, max_attempts=7, timeout=90)
async def digest(day: str) -> int:
    return len(day)


@mail.task
def note(body: Any) -> None: ...


ghost = pgq.App().queue("ghost")  # declared nowhere in the database


@ghost.task
def haunt(times: int = 1) -> None: ...


def rows(dsn: str) -> list[dict[str, Any]]:
    """All tasks as others see them, payloads as text."""
    with psycopg.connect(dsn, row_factory=dict_row) as conn:
        return conn.execute("select *, payload::text as payload from pgq.tasks order by id").fetchall()


def ids(dsn: str) -> list[int]:
    return [row["id"] for row in rows(dsn)]
