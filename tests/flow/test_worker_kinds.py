"""Every kind of handler runs where it should, with its arguments and its context."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest
import worker_app
from serving import all_ended, burst, serving, task_row, until_status

import pgq


async def test_an_async_handler_runs_on_the_event_loop(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    app = pgq.App()
    seen: list[Any] = []

    @app.queue("q").task
    async def note(word: str, number: int = 1) -> None:
        seen.append((word, number, pgq.context().id, asyncio.get_running_loop()))

    await app.adeclare(aconn)
    task_id = await note.aenqueue(aconn, "hello", number=2)
    await burst(app, config)
    row = await task_row(aconn, task_id)
    assert seen == [("hello", 2, task_id, asyncio.get_running_loop())]
    assert (row.status, row.attempts, row.lease) == ("completed", 1, None)
    assert row.created_at <= row.started_at <= row.completed_at


async def test_a_plain_function_runs_in_a_thread_with_its_context(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = pgq.App()
    seen: list[Any] = []

    @app.queue("q").task
    def note() -> None:
        seen.append((threading.current_thread() is threading.main_thread(), pgq.context().id, pgq.context().attempt))

    await app.adeclare(aconn)
    task_id = await note.aenqueue(aconn)
    await burst(app, config)
    assert seen == [(False, task_id, 1)]


async def test_a_process_handler_runs_in_another_process_with_its_context(
    config: pgq.Config, aconn: psycopg.AsyncConnection, tmp_path: Path
) -> None:
    await worker_app.app.adeclare(aconn)
    plain, coroutine = str(tmp_path / "plain"), str(tmp_path / "coroutine")
    task_id = await worker_app.write_pid.aenqueue(aconn, plain)
    await worker_app.write_pid_later.aenqueue(aconn, coroutine)
    await burst(worker_app.app, config)
    pid, seen_id, attempt = noted(plain)
    assert os.getpid() not in {pid, *noted(coroutine)}
    assert (seen_id, attempt) == (task_id, 1)


def noted(path: str) -> list[int]:
    """Return the numbers that a handler wrote to a file."""
    return [int(word) for word in Path(path).read_text().split()]


async def test_a_child_process_is_used_again(
    config: pgq.Config, aconn: psycopg.AsyncConnection, tmp_path: Path
) -> None:
    await worker_app.app.adeclare(aconn)
    async with serving(worker_app.app, config):
        for name in ("first", "second"):
            task_id = await worker_app.write_pid.aenqueue(aconn, str(tmp_path / name))
            await until_status(aconn, task_id, "completed")
    first, second = ((tmp_path / name).read_text().split()[0] for name in ("first", "second"))
    assert first == second


async def test_what_a_process_handler_prints_disturbs_nothing(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    await worker_app.app.adeclare(aconn)
    task_id = await worker_app.chatter.aenqueue(aconn)
    await burst(worker_app.app, config)
    assert (await task_row(aconn, task_id)).status == "completed"


async def test_a_worker_with_process_handlers_and_no_import_path_refuses_to_start(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = pgq.App()
    app.queue("q").task(process=True)(never)
    with pytest.raises(pgq.ConfigError, match="import path"):
        await burst(app, config)
    assert await (await aconn.execute("select count(*) from pgq.workers")).fetchone() == (0,)


def never() -> None:
    raise AssertionError("never runs")


async def test_tasks_of_unknown_names_are_left_alone(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    app = pgq.App()
    queue = app.queue("q")

    @queue.task
    async def known() -> None: ...

    await app.adeclare(aconn)
    cursor = await aconn.execute("select pgq.enqueue('q', 'of_a_newer_release', priority => 0)")
    ((unknown,),) = await cursor.fetchall()
    await known.aenqueue(aconn)
    await burst(app, config)
    row = await task_row(aconn, unknown)
    assert (row.status, row.attempts) == ("pending", 0)
    cursor = await aconn.execute("select count(*) from pgq.tasks where status = 'completed'")
    assert await cursor.fetchone() == (1,)


async def test_a_burst_drains_what_is_due_and_ends(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    app = pgq.App()

    @app.queue("q").task
    async def work(number: int) -> None: ...

    await app.adeclare(aconn)
    await work.aenqueue_many(aconn, [{"number": n} for n in range(1500)])
    later = await work.options(delay=600).aenqueue(aconn, 0)
    await burst(app, config)
    cursor = await aconn.execute("select count(*) from pgq.tasks where status = 'completed'")
    assert await cursor.fetchone() == (1500,)
    assert (await task_row(aconn, later)).status == "pending"


async def test_a_burst_ends_although_a_queue_is_paused(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    app = pgq.App()

    @app.queue("q").task
    async def work() -> None: ...

    await app.adeclare(aconn)
    task_id = await work.aenqueue(aconn)
    await aconn.execute("select pgq.pause('q')")
    await burst(app, config)
    assert (await task_row(aconn, task_id)).status == "pending"


async def test_a_queue_without_history_deletes_what_completes(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = pgq.App()

    @app.queue("q", retention=0, max_attempts=1).task
    async def work(fail: bool) -> None:
        if fail:
            raise ValueError("kept")

    await app.adeclare(aconn)
    await work.aenqueue_many(aconn, [{"fail": False}] * 5)
    failing = await work.aenqueue(aconn, fail=True)
    await burst(app, config)
    cursor = await aconn.execute("select id, status::text from pgq.tasks")
    assert await cursor.fetchall() == [(failing, "dead")]
    cursor = await aconn.execute("select sum(completed)::int, sum(dead)::int from pgq.counts")
    assert await cursor.fetchone() == (5, 1)


async def test_a_thousand_tasks_of_all_kinds_run_once_each(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    app = pgq.App()
    queue = app.queue("q")
    seen: list[int] = []

    @queue.task
    async def on_the_loop(number: int) -> None:
        seen.append(number)

    @queue.task
    def in_a_thread(number: int) -> None:
        seen.append(number)

    await app.adeclare(aconn)
    await on_the_loop.aenqueue_many(aconn, [{"number": n} for n in range(500)])
    await in_a_thread.aenqueue_many(aconn, [{"number": n} for n in range(500, 1000)])
    async with serving(app, config):
        await all_ended(aconn, 1000)
    assert sorted(seen) == list(range(1000))
