"""Workers inside the test's own event loop, and waiting for what they do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import psycopg
import pytest
from pooler import UNHEARD, WANTED
from psycopg.rows import namedtuple_row

import pgq
from pgq.worker import Worker


@asynccontextmanager
async def serving(app: pgq.App, config: pgq.Config, **options: Any) -> AsyncIterator[Worker]:
    """Run a worker while the block runs, and stop it properly."""
    worker = Worker(app, config, **options)
    running = asyncio.create_task(worker.run())

    async def open_or_over() -> bool:
        return hasattr(worker, "upkeep") or running.done()

    try:
        await eventually(open_or_over)
        yield worker
    finally:
        worker.stop()
        async with asyncio.timeout(config.grace + 15):
            await running


async def listening(worker: Worker) -> None:
    """Wait until the worker hears the doorbell; skip the test where a pooler keeps it from that."""
    if WANTED:
        pytest.skip(UNHEARD)

    async def works() -> bool:
        return worker.doorbell.works

    await eventually(works)


async def burst(app: pgq.App, config: pgq.Config) -> None:
    """Run a worker until nothing is due."""
    async with asyncio.timeout(20):
        await Worker(app, config).run(burst=True)


async def task_row(conn: psycopg.AsyncConnection, task_id: int) -> Any:
    """Return one task, columns as attributes, and `seen_at`, when the database read it."""
    cursor = conn.cursor(row_factory=namedtuple_row)
    await cursor.execute("select *, clock_timestamp() as seen_at from pgq.tasks where id = %s", (task_id,))
    return await cursor.fetchone()


async def until_status(conn: psycopg.AsyncConnection, task_id: int, *wanted: str, seconds: float = 10) -> Any:
    """Wait until a task has one of these statuses and return its row."""

    async def reached() -> Any:
        row = await task_row(conn, task_id)
        return row if row is not None and row.status in wanted else None

    return await eventually(reached, seconds)


async def all_ended(conn: psycopg.AsyncConnection, count: int, seconds: float = 15) -> None:
    """Wait until so many tasks are completed and none waits or runs."""

    async def reached() -> bool:
        cursor = await conn.execute(
            "select count(*) filter (where status = 'completed'), count(*) from pgq.tasks where status <> 'dead'"
        )
        return await cursor.fetchone() == (count, count)

    await eventually(reached, seconds)


async def sessions(conn: psycopg.AsyncConnection, role: str) -> list[int]:
    """Return the backend pids of the workers' connections for one role in this database."""
    cursor = await conn.execute(
        "select pid from pg_stat_activity where datname = current_database() and application_name = %s",
        (f"pgq {role}",),
    )
    return [pid for (pid,) in await cursor.fetchall()]


async def eventually(reached: Callable[[], Awaitable[Any]], seconds: float = 10) -> Any:
    """Wait until a condition holds and return what it returned."""
    ends = monotonic() + seconds
    while not (result := await reached()):
        assert monotonic() < ends, f"not reached within {seconds} s"
        await asyncio.sleep(0.01)
    return result
