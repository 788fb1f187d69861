"""A worker that is stopped hands back what has not started, waits for the rest, and loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from dataclasses import replace
from time import monotonic

import psycopg
import pytest
import worker_app
from serving import all_ended, eventually, listening, serving, sessions, task_row, until_status

import pgq
from pgq.worker import Worker


async def test_running_tasks_finish_within_the_grace_time(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    app = pgq.App()
    started = asyncio.Event()

    @app.queue("q").task
    async def work() -> None:
        started.set()
        await asyncio.sleep(0.5)

    await app.adeclare(aconn)
    task_id = await work.aenqueue(aconn)
    async with serving(app, config):
        await started.wait()
    assert (await task_row(aconn, task_id)).status == "completed"
    assert await (await aconn.execute("select count(*) from pgq.workers")).fetchone() == (0,)


async def test_a_stopping_worker_claims_nothing_more(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    app = pgq.App()
    started, stopped, ran = asyncio.Event(), asyncio.Event(), list[int]()

    @app.queue("q").task
    async def work() -> None:
        ran.append(pgq.context().id)
        started.set()
        await stopped.wait()

    async def no_claimer() -> bool:
        return not await sessions(aconn, "claim")

    await app.adeclare(aconn)
    first = await work.aenqueue(aconn)
    async with serving(app, config) as worker:
        await started.wait()
        worker.stop()
        await eventually(no_claimer)
        second = await work.aenqueue(aconn)
        stopped.set()
    row = await task_row(aconn, second)
    assert (row.status, row.attempts, ran) == ("pending", 0, [first])


async def test_what_has_not_started_goes_back_with_its_attempt(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = pgq.App()
    gate = asyncio.Event()
    for name in "abcd":

        @app.queue(name).task(name=name)
        async def work() -> None:
            await gate.wait()

    await app.adeclare(aconn)
    for name in "abcd":
        await app.handlers[name].aenqueue_many(aconn, [{}] * 5)
    async with serving(app, replace(config, concurrency=2)) as worker:
        await eventually(lambda: asyncio.sleep(0, worker.board.running == 2))
        await eventually(lambda: asyncio.sleep(0, any(lane.buffer for lane in worker.board.lanes.values())))
        worker.stop()
        gate.set()
    cursor = await aconn.execute("select status::text, attempts, lease, count(*) from pgq.tasks group by 1, 2, 3")
    rows = {(status, attempts): count for status, attempts, lease, count in await cursor.fetchall() if lease is None}
    assert set(rows) == {("completed", 1), ("pending", 0)}
    assert sum(rows.values()) == 20


@pytest.mark.parametrize("kind", ["async", "deaf", "thread"])
async def test_what_runs_past_the_grace_time_is_stopped_and_goes_back_with_its_attempt(
    kind: str, config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = pgq.App()
    started, end = threading.Event(), threading.Event()
    queue = app.queue("q")

    @queue.task(name="async")
    async def wait() -> None:
        started.set()
        await asyncio.sleep(600)

    @queue.task(name="deaf")
    async def wait_deaf() -> None:
        started.set()
        for _ in range(2):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(600)

    @queue.task(name="thread")
    def wait_in_thread() -> None:
        started.set()
        end.wait(30)

    await app.adeclare(aconn)
    task_id = await app.handlers[kind].aenqueue(aconn)
    began = monotonic()
    try:
        async with serving(app, replace(config, grace=0.5)):
            await eventually(lambda: asyncio.sleep(0, started.is_set()))
            began = monotonic()
        assert monotonic() - began < 4
        row = await task_row(aconn, task_id)
        if kind == "deaf":  # it returned in the end, after two requests to stop
            assert row.status in {"pending", "completed"}
        else:
            assert (row.status, row.attempts, row.lease) == ("pending", 0, None)
    finally:
        end.set()


async def test_a_second_worker_takes_over_what_was_handed_back(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app, ran = pgq.App(), list[int]()

    @app.queue("q").task
    async def work(number: int) -> None:
        ran.append(number)
        await asyncio.sleep(0.01)

    await app.adeclare(aconn)
    await work.aenqueue_many(aconn, [{"number": n} for n in range(1_000)])
    async with serving(app, config):
        async with serving(app, config):
            await eventually(lambda: asyncio.sleep(0, len(ran) >= 200))
        await all_ended(aconn, 1_000)
    assert sorted(ran) == list(range(1_000))


async def test_an_idle_worker_starts_at_once_what_another_hands_back(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = pgq.App()
    started, gate = list[int](), asyncio.Event()

    @app.queue("q").task
    async def work() -> None:
        started.append(pgq.context().id)
        await gate.wait()

    await app.adeclare(aconn)
    patient = replace(config, poll=30, grace=0)
    async with serving(app, patient):
        task_id = await work.aenqueue(aconn)
        await eventually(lambda: asyncio.sleep(0, started == [task_id]))
        async with serving(app, patient) as second:
            await listening(second)
            other_id = await work.aenqueue(aconn)
            await eventually(lambda: asyncio.sleep(0, other_id in started))
        gate.set()
        await until_status(aconn, other_id, "completed", seconds=3)


async def test_a_stop_before_the_start_ends_the_worker_at_once(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = pgq.App()

    @app.queue("q").task
    async def work() -> None: ...

    await app.adeclare(aconn)
    task_id = await work.aenqueue(aconn)
    worker = Worker(app, config)
    worker.stop()
    async with asyncio.timeout(5):
        await worker.run()
    assert (await task_row(aconn, task_id)).status == "pending"


async def test_a_thread_that_never_ends_does_not_keep_the_process_alive(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    await worker_app.app.adeclare(aconn)
    task_id = await worker_app.never_return.aenqueue(aconn)
    code = (
        "import asyncio, worker_app, pgq; from pgq.worker import Worker\n"
        f"config = pgq.Config(dsn={config.dsn!r}, grace=0.2)\n"
        "async def main():\n"
        "    worker = Worker(worker_app.app, config)\n"
        "    asyncio.get_running_loop().add_signal_handler(15, worker.stop)\n"
        "    await worker.run()\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.to_thread(subprocess.Popen, [sys.executable, "-c", code])
    try:
        await until_status(aconn, task_id, "processing")
        process.terminate()
        assert await asyncio.to_thread(process.wait, 8) == 0
    finally:
        process.kill()
        process.wait()
    row = await task_row(aconn, task_id)
    assert (row.status, row.attempts) == ("pending", 0)


async def test_a_worker_whose_run_is_cancelled_leaves_nothing_behind(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = pgq.App()
    begun = asyncio.Event()

    @app.queue("jobs").task
    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    await app.adeclare(aconn)
    await endless.aenqueue(aconn)
    running = asyncio.create_task(Worker(app, config).run())
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    async def gone() -> bool:
        roles = ("claim", "settle", "listen", "upkeep", "heartbeat")
        workers = await (await aconn.execute("select count(*) from pgq.workers")).fetchone()
        return workers == (0,) and not any([await sessions(aconn, role) for role in roles])

    await eventually(gone)
