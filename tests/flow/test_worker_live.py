"""What an operator changes reaches a running worker within a second."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import psycopg
from serving import eventually, listening, serving, task_row, until_status

import pgq


async def test_a_paused_queue_claims_nothing_until_it_is_resumed(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = pgq.App()
    for name in ("q", "other"):

        @app.queue(name).task(name=f"work_{name}")
        async def work() -> None: ...

    await app.adeclare(aconn)
    async with serving(app, config):
        await until_status(aconn, await app.handlers["work_q"].aenqueue(aconn), "completed")
        await aconn.execute("select pgq.pause('q')")
        held = await app.handlers["work_q"].aenqueue(aconn)
        passing = await app.handlers["work_other"].options(delay=1).aenqueue(aconn)
        await until_status(aconn, passing, "completed")
        assert (await task_row(aconn, held)).status == "pending"
        await aconn.execute("select pgq.resume('q')")
        await until_status(aconn, held, "completed", seconds=1)


async def test_a_pause_lets_running_tasks_finish_and_stops_the_rest(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = pgq.App()
    gate = asyncio.Event()

    @app.queue("q").task
    async def work() -> None:
        await gate.wait()

    await app.adeclare(aconn)
    await work.aenqueue_many(aconn, [{}] * 200)
    async with serving(app, config) as worker:
        await listening(worker)
        await eventually(lambda: asyncio.sleep(0, worker.board.running == config.concurrency))
        await aconn.execute("select pgq.pause('q')")
        await eventually(lambda: asyncio.sleep(0, worker.board.lanes["q"].settings.paused), seconds=1)
        gate.set()
        await eventually(lambda: asyncio.sleep(0, not worker.board.running and not worker.settler.backlog))
        cursor = await aconn.execute("select count(*) from pgq.tasks where status = 'completed'")
        ((done,),) = await cursor.fetchall()
        assert config.concurrency <= done < 200


async def test_a_changed_concurrency_takes_effect_while_the_worker_runs(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = pgq.App()
    running, gate = list[int](), asyncio.Event()

    @app.queue("q", concurrency=1).task
    async def work() -> None:
        running.append(1)
        await gate.wait()

    await app.adeclare(aconn)
    await work.aenqueue_many(aconn, [{}] * 10)
    async with serving(app, config) as worker:
        await listening(worker)
        await eventually(lambda: asyncio.sleep(0, len(running) == 1))
        await aconn.execute("update pgq.queues set concurrency = 4")
        await eventually(lambda: asyncio.sleep(0, len(running) == 4), seconds=1)
        gate.set()
        await eventually(lambda: asyncio.sleep(0, len(running) == 10))


async def test_a_changed_backoff_counts_for_the_next_failure(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = pgq.App()

    @app.queue("q", backoff=pgq.Fixed(600)).task
    async def fail() -> None:
        raise ValueError("again")

    await app.adeclare(aconn)
    async with serving(app, config) as worker:
        await aconn.execute("update pgq.queues set delay = 30")
        await eventually(lambda: asyncio.sleep(0, worker.board.lanes["q"].settings.delay == 30), seconds=1)
        task_id = await fail.aenqueue(aconn)

        async def failed_once() -> bool:
            row = await task_row(aconn, task_id)
            return row.status == "pending" and row.attempts == 1

        await eventually(failed_once)
        row = await task_row(aconn, task_id)
        assert 29 < (row.scheduled_at - row.seen_at).total_seconds() <= 30


async def test_a_setting_changed_by_hand_outlives_a_restart_of_the_worker(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = pgq.App()

    @app.queue("q", concurrency=2).task
    async def work() -> None: ...

    await app.adeclare(aconn)
    await aconn.execute("update pgq.queues set concurrency = 7")
    async with serving(app, config) as worker:
        assert worker.board.lanes["q"].settings.concurrency == 7


async def test_a_change_is_seen_without_listen_too(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    app = pgq.App()

    @app.queue("q").task
    async def work() -> None: ...

    await app.adeclare(aconn)
    async with serving(app, replace(config, poll=0.3)) as worker:
        await aconn.execute("alter table pgq.queues disable trigger announce_settings")
        await aconn.execute("update pgq.queues set concurrency = 3")
        await eventually(lambda: asyncio.sleep(0, worker.board.lanes["q"].settings.concurrency == 3), seconds=1)
