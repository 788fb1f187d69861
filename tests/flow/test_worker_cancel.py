"""A cancellation reaches a task wherever it is: waiting, claimed, or running in any of the three ways."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import psycopg
import worker_app
from serving import eventually, listening, serving, task_row, until_status

import pgq


async def cancel(aconn: psycopg.AsyncConnection, task_id: int) -> str:
    """Cancel a task and return what the database said."""
    ((said,),) = await (await aconn.execute("select pgq.cancel(%s)", (task_id,))).fetchall()
    return str(said)


async def test_a_waiting_task_is_cancelled_at_once_and_never_runs(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = pgq.App()
    ran: list[int] = []

    @app.queue("q").task
    async def work() -> None:
        ran.append(pgq.context().id)

    await app.adeclare(aconn)
    task_id = await work.options(delay=0.5).aenqueue(aconn)
    async with serving(app, config):
        assert await cancel(aconn, task_id) == "cancelled"
        after = await work.options(delay=0.6).aenqueue(aconn)
        await until_status(aconn, after, "completed")
    row = await task_row(aconn, task_id)
    assert (row.status, row.attempts, ran) == ("cancelled", 0, [after])


async def test_a_running_coroutine_is_cancelled(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    app = pgq.App()
    started, cleaned_up = asyncio.Event(), asyncio.Event()

    @app.queue("q").task
    async def slow() -> None:
        started.set()
        try:
            await asyncio.sleep(600)
        finally:
            cleaned_up.set()

    await app.adeclare(aconn)
    task_id = await slow.aenqueue(aconn)
    async with serving(app, config) as worker:
        await listening(worker)
        await started.wait()
        assert await cancel(aconn, task_id) == "requested"
        row = await until_status(aconn, task_id, "cancelled", seconds=1)
    assert cleaned_up.is_set()
    assert (row.last_error, row.lease) == ("cancelled while it ran", None)


async def test_a_running_process_is_killed(config: pgq.Config, aconn: psycopg.AsyncConnection, tmp_path: Path) -> None:
    await worker_app.app.adeclare(aconn)
    note = tmp_path / "pid"
    task_id = await worker_app.hang.aenqueue(aconn, str(note))
    async with serving(worker_app.app, config) as worker:
        await listening(worker)
        await eventually(lambda: asyncio.sleep(0, note.exists() and note.read_text().endswith("\n")))
        await cancel(aconn, task_id)
        await until_status(aconn, task_id, "cancelled", seconds=1)
        state = Path(f"/proc/{int(note.read_text())}/stat")
        await eventually(lambda: asyncio.sleep(0, not state.exists() or ") Z" in state.read_text()))


async def test_a_running_thread_is_told(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    app = pgq.App()
    started = threading.Event()

    @app.queue("q").task
    def slow() -> None:
        started.set()
        if pgq.context().wait_cancelled(20):
            raise RuntimeError("stopped half way")

    await app.adeclare(aconn)
    task_id = await slow.aenqueue(aconn)
    async with serving(app, config) as worker:
        await listening(worker)
        await eventually(lambda: asyncio.sleep(0, started.is_set()))
        await cancel(aconn, task_id)
        await until_status(aconn, task_id, "cancelled", seconds=1)


async def test_a_claimed_task_that_has_not_started_is_cancelled_without_running(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = pgq.App()
    gate, ran = asyncio.Event(), list[int]()

    @app.queue("q").task
    async def first() -> None:
        await gate.wait()

    @app.queue("r").task
    async def second() -> None:
        ran.append(pgq.context().id)

    await app.adeclare(aconn)
    first_id = await first.aenqueue(aconn)
    second_id = await second.aenqueue(aconn)
    async with serving(app, replace(config, concurrency=1)) as worker:
        await listening(worker)

        async def one_runs_one_waits() -> int | None:
            waiting = [task.id for lane in worker.board.lanes.values() for task in lane.buffer]
            return waiting[0] if waiting and worker.board.running else None

        waiting_id = await eventually(one_runs_one_waits)
        await cancel(aconn, waiting_id)
        row = await until_status(aconn, waiting_id, "cancelled", seconds=1)
        gate.set()
    assert waiting_id in {first_id, second_id}
    assert ran == ([first_id] if waiting_id == first_id else []) or waiting_id not in ran
    assert row.attempts == 0


async def test_a_cancellation_that_nobody_heard_is_seen_by_the_heartbeat(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = pgq.App()
    started = asyncio.Event()

    @app.queue("q").task
    async def slow() -> None:
        started.set()
        await asyncio.sleep(600)

    await app.adeclare(aconn)
    task_id = await slow.aenqueue(aconn)
    async with serving(app, config):
        await started.wait()
        await aconn.execute("update pgq.tasks set cancel_requested = true where id = %s", (task_id,))
        await until_status(aconn, task_id, "cancelled", seconds=3 * config.heartbeat)


async def test_a_failed_attempt_of_a_task_asked_to_stop_is_not_tried_again(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = pgq.App()
    started, end = asyncio.Event(), asyncio.Event()

    @app.queue("q").task
    async def deaf() -> None:
        started.set()
        while not end.is_set():
            try:
                await end.wait()
            except asyncio.CancelledError:
                end.set()
        raise ValueError("too late")

    await app.adeclare(aconn)
    task_id = await deaf.aenqueue(aconn)
    async with serving(app, config) as worker:
        await listening(worker)
        await started.wait()
        await cancel(aconn, task_id)
        row = await until_status(aconn, task_id, "cancelled", seconds=2)
    assert row.attempts == 1
