"""What a worker tells those who watch: how long tasks waited and ran, what it knows, what failed."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
from psycopg.rows import namedtuple_row
from serving import burst, eventually, serving, until_status

import pgq


def an_app() -> pgq.App:
    app = pgq.App()
    queue = app.queue("q", max_attempts=2, backoff=pgq.Fixed(0))

    @queue.task
    async def nap(seconds: float) -> None:
        await asyncio.sleep(seconds)

    @queue.task
    async def fail() -> None:
        raise ValueError("no such image")

    return app


async def stats(conn: psycopg.AsyncConnection) -> Any:
    cursor = conn.cursor(row_factory=namedtuple_row)
    return await (await cursor.execute("select * from pgq.queue_stats where queue = 'q'")).fetchone()


async def test_waits_and_runs_are_told_when_a_worker_leaves_at_the_latest(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = an_app()
    await app.adeclare(aconn)
    await app.handlers["nap"].aenqueue_many(aconn, [{"seconds": 0.2}] * 5)
    await aconn.execute("update pgq.tasks set scheduled_at = scheduled_at - interval '30 seconds'")
    await burst(app, config)
    found = await stats(aconn)
    assert 0.17 < found.run_p50 < 1.0
    assert 27 < found.wait_p50 < 60
    assert found.wait_p95 >= found.wait_p50
    assert found.completed == 5


async def test_every_failed_attempt_is_told(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    app = an_app()
    await app.adeclare(aconn)
    async with serving(app, config):
        task = await app.handlers["fail"].aenqueue(aconn)
        await until_status(aconn, task, "dead")
    cursor = await aconn.execute("select task_id, attempt, error, traceback from pgq.attempts order by attempt")
    rows = await cursor.fetchall()
    assert [row[:3] for row in rows] == [(task, 1, "ValueError: no such image"), (task, 2, "ValueError: no such image")]
    assert "in fail" in rows[0][3]


async def test_a_worker_says_what_it_knows_and_its_upkeep_counts(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = an_app()
    async with serving(app, config):

        async def sampled() -> Any:
            cursor = await aconn.execute("select count(*) from pgq.depths where queue = 'q'")
            return (await cursor.fetchone() or (0,))[0] > 1

        await eventually(sampled)
        cursor = await aconn.execute("select tasks from pgq.workers")
        assert await cursor.fetchall() == [(["fail", "nap"],)]
        found = await stats(aconn)
        assert (found.arrived_1m, found.served_1m) == (0, 0)
        assert found.estimated is False


@pytest.mark.parametrize("many", [3, 40])
async def test_what_arrived_and_what_was_served_are_counted_while_work_goes_on(
    config: pgq.Config, aconn: psycopg.AsyncConnection, many: int
) -> None:
    app = an_app()
    async with serving(app, config):

        async def first() -> Any:
            return (await (await aconn.execute("select count(*) from pgq.depths")).fetchone() or (0,))[0] > 0

        await eventually(first)
        await app.handlers["nap"].aenqueue_many(aconn, [{"seconds": 0.0}] * many)

        async def counted() -> Any:
            query = "select arrived, ended from pgq.depths where queue = 'q' order by seen_at desc limit 1"
            return await (await aconn.execute(query)).fetchone() == (many, many)

        await eventually(counted)
