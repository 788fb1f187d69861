"""One statement per task, each a transaction of its own, each with its line of output."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

from pgq.errors import PgqError, UnknownTask

if TYPE_CHECKING:
    from psycopg import Connection


def each(conn: Connection, query: str, ids: Iterable[int], words: Callable[[str], str]) -> None:
    """Carry out a statement for every id and print what came out, in words; exits with 1 when one was refused."""
    refused = False
    for task_id in dict.fromkeys(ids):
        try:
            click.echo(f"{task_id} {words(steer(conn, query, task_id))}")
        except PgqError as error:
            complain(task_id, error)
            refused = True
    if refused:
        raise click.exceptions.Exit(1)


def steer(conn: Connection, query: str, task_id: int) -> str:
    """Carry out a statement for one task and return the text it answers with, empty without a row."""
    from pgq.audit import whoami
    from pgq.db import Call, run

    rows = run(conn, Call(query, {"id": task_id, "actor": whoami()}))
    return rows[0][0] if rows else ""


def complain(task_id: int, error: PgqError) -> None:
    """Say on stderr why one task was left alone."""
    click.echo(f"pgq: {error}" if isinstance(error, UnknownTask) else f"pgq: task {task_id}: {error}", err=True)
