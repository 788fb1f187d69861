"""pgq.testing, the helper for users' own tests."""

from __future__ import annotations

import psycopg
import pytest

import pgq
from pgq import testing


def test_work_off_runs_what_is_due_and_returns(dsn: str, conn: psycopg.Connection) -> None:
    app = pgq.App()
    seen: list[int] = []

    @app.queue("jobs").task
    def note(n: int) -> None:
        seen.append(n)

    app.declare(conn)
    note.enqueue_many(conn, [{"n": n} for n in range(5)])
    note.options(delay=3600).enqueue(conn, n=99)
    testing.work_off(app, dsn)
    assert sorted(seen) == [0, 1, 2, 3, 4]


async def test_awork_off_says_that_the_schema_is_missing(empty_dsn: str) -> None:
    app = pgq.App()
    app.queue("jobs")
    with pytest.raises(pgq.SchemaError, match="pgq migrate"):
        await testing.awork_off(app, empty_dsn)
