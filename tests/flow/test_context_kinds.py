"""pgq.context(): what a handler of any kind can ask about its own run."""

from __future__ import annotations

import asyncio
import threading

import context_app
import psycopg
import pytest
from factory import task_row

import pgq
from pgq.worker import Worker

LOOKS = {
    "async": context_app.look_async,
    "thread": context_app.look_thread,
    "process": context_app.look_process,
    "async process": context_app.look_async_process,
}
OVERRUNS = {
    "async": context_app.overrun_async,
    "thread": context_app.overrun_thread,
    "process": context_app.overrun_process,
}


@pytest.fixture(autouse=True)
def _tables(conn: psycopg.Connection) -> None:
    conn.execute(context_app.TABLES)
    context_app.app.declare(conn)


@pytest.mark.parametrize("kind", LOOKS)
async def test_a_handler_of_any_kind_knows_its_run(config: pgq.Config, conn: psycopg.Connection, kind: str) -> None:
    task_id = LOOKS[kind].enqueue(conn, dsn=config.dsn)
    while task_row(conn, task_id).status == "pending":
        await Worker(context_app.app, config).run(burst=True)
    assert task_row(conn, task_id).status == "completed"
    first, second = conn.execute("select * from seen order by attempt").fetchall()
    for attempt, row in enumerate((first, second), start=1):
        assert row[:3] == (kind, task_id, attempt)
        assert 10 < row[3] <= 20
        assert row[4].startswith(f"{task_id}:{attempt}:")
        assert row[5] is False
    assert first[4] != second[4]


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_run_past_its_timeout_is_told(config: pgq.Config, conn: psycopg.Connection, kind: str) -> None:
    task_id = OVERRUNS[kind].enqueue(conn, dsn=config.dsn)
    await Worker(context_app.app, config).run(burst=True)
    assert conn.execute("select text from notes").fetchall() == [("cancelled=True late=True",)]
    row = task_row(conn, task_id)
    assert (row.status, row.last_error) == ("dead", "timed out after 0.3 s")


async def test_a_process_past_its_timeout_is_killed(config: pgq.Config, conn: psycopg.Connection) -> None:
    task_id = OVERRUNS["process"].enqueue(conn, dsn=config.dsn)
    await Worker(context_app.app, config).run(burst=True)
    assert conn.execute("select text from notes").fetchall() == []
    row = task_row(conn, task_id)
    assert (row.status, row.last_error) == ("dead", "timed out after 1 s")


async def test_runs_side_by_side_have_their_own_contexts(config: pgq.Config, conn: psycopg.Connection) -> None:
    app = pgq.App()
    queue = app.queue("both")
    pairs: list[tuple[int, int]] = []
    together = asyncio.Barrier(2)
    meeting = threading.Barrier(2, timeout=20)

    @queue.task
    async def coroutine() -> None:
        before = pgq.context().id
        await together.wait()
        pairs.append((before, pgq.context().id))

    @queue.task
    def thread() -> None:
        before = pgq.context().id
        meeting.wait()
        pairs.append((before, pgq.context().id))

    app.declare(conn)
    added = [task_id for kind in (coroutine, thread) for task_id in kind.enqueue_many(conn, [{}, {}])]
    await Worker(app, config).run(burst=True)
    assert sorted(pairs) == [(task_id, task_id) for task_id in added]


async def test_what_a_handler_starts_sees_its_context_too(config: pgq.Config, conn: psycopg.Connection) -> None:
    app = pgq.App()
    seen: list[int] = []

    async def inner() -> None:
        seen.append(pgq.context().id)

    @app.queue("nested").task
    async def outer() -> None:
        await asyncio.gather(inner(), asyncio.create_task(inner()))
        await asyncio.to_thread(lambda: seen.append(pgq.context().id))

    app.declare(conn)
    task_id = outer.enqueue(conn)
    await Worker(app, config).run(burst=True)
    assert seen == [task_id] * 3


async def test_outside_a_handler_there_is_no_context(config: pgq.Config) -> None:
    for _ in range(2):
        with pytest.raises(pgq.PgqError, match=r"pgq\.context\(\) was called outside a running task"):
            pgq.context()
        await Worker(context_app.app, config).run(burst=True)
    with pytest.raises(pgq.PgqError, match="outside a running task"):
        context_app.look_thread(config.dsn)
