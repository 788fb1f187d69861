"""Past its timeout a coroutine is cancelled, a process is killed, a thread is told, and upkeep takes what is left."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from pathlib import Path

import psycopg
import worker_app
from serving import eventually, serving, until_status

import pgq


def alive(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def over(pid: int) -> bool:
    """Return whether a child has ended, all its threads: its first may be a zombie while others still end."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


async def pids_in(path: Path, count: int) -> list[int]:
    """Wait for a handler to write so many process ids."""

    def words() -> list[str]:
        return path.read_text().split() if path.exists() else []

    async def written() -> bool:
        return len(words()) == count

    await eventually(written)
    return [int(word) for word in words()]


async def test_a_coroutine_is_cancelled_at_its_timeout(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    app = pgq.App()
    cleaned_up = asyncio.Event()

    @app.queue("q", max_attempts=1).task(timeout=0.3)
    async def slow() -> None:
        try:
            await asyncio.sleep(600)
        finally:
            cleaned_up.set()

    await app.adeclare(aconn)
    task_id = await slow.aenqueue(aconn)
    async with serving(app, config):
        row = await until_status(aconn, task_id, "dead")
    assert cleaned_up.is_set()
    assert row.last_error == "timed out after 0.3 s"
    assert "asyncio.sleep(600)" in row.traceback
    assert 0.3 <= (row.completed_at - row.started_at).total_seconds() < 1


async def test_a_timeout_is_a_failed_attempt_that_is_tried_again(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = pgq.App()

    @app.queue("q", backoff=pgq.Fixed(0)).task(timeout=0.2)
    async def slow_once() -> None:
        if pgq.context().attempt == 1:
            await asyncio.sleep(600)

    await app.adeclare(aconn)
    task_id = await slow_once.aenqueue(aconn)
    async with serving(app, config):
        row = await until_status(aconn, task_id, "completed")
    assert row.attempts == 2


async def test_a_handler_s_own_timeout_is_its_own_business(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    app = pgq.App()

    @app.queue("q").task(timeout=30)
    async def careful() -> None:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(600)
        except TimeoutError:
            return

    await app.adeclare(aconn)
    task_id = await careful.aenqueue(aconn)
    async with serving(app, config):
        row = await until_status(aconn, task_id, "completed")
    assert row.last_error is None


async def test_a_process_is_killed_at_its_timeout_with_what_it_started(
    config: pgq.Config, aconn: psycopg.AsyncConnection, tmp_path: Path
) -> None:
    await worker_app.app.adeclare(aconn)
    note = tmp_path / "pids"
    task_id = await worker_app.hang_with_grandchild.aenqueue(aconn, str(note))
    async with serving(worker_app.app, config):
        pids = await pids_in(note, 2)
        assert all(alive(pid) for pid in pids)
        row = await until_status(aconn, task_id, "dead")
        assert not any(alive(pid) for pid in pids)
        after = await worker_app.chatter.aenqueue(aconn)
        await until_status(aconn, after, "completed")
    assert row.last_error == "timed out after 1.5 s"


async def test_a_child_killed_from_outside_is_a_failed_attempt_and_is_replaced(
    config: pgq.Config, aconn: psycopg.AsyncConnection, tmp_path: Path
) -> None:
    await worker_app.app.adeclare(aconn)
    note = tmp_path / "pids"
    async with serving(worker_app.app, config):
        task_id = await worker_app.hang.options(max_attempts=2).aenqueue(aconn, str(note))
        (first,) = await pids_in(note, 1)
        os.kill(first, signal.SIGKILL)
        second = (await pids_in(note, 2))[1]
        os.kill(second, signal.SIGKILL)
        row = await until_status(aconn, task_id, "dead")
    assert (row.last_error, row.attempts) == ("its process was killed by SIGKILL", 2)


async def test_an_idle_child_killed_from_outside_costs_no_attempt(
    config: pgq.Config, aconn: psycopg.AsyncConnection, tmp_path: Path
) -> None:
    await worker_app.app.adeclare(aconn)
    note = tmp_path / "pid"
    async with serving(worker_app.app, config):
        task_id = await worker_app.write_pid_later.aenqueue(aconn, str(note))
        await until_status(aconn, task_id, "completed")
        (pid,) = await pids_in(note, 1)
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: asyncio.sleep(0, over(pid)))
        task_id = await worker_app.chatter.aenqueue(aconn)
        row = await until_status(aconn, task_id, "completed")
    assert row.attempts == 1


async def test_children_end_with_their_worker(
    config: pgq.Config, aconn: psycopg.AsyncConnection, tmp_path: Path
) -> None:
    await worker_app.app.adeclare(aconn)
    note = tmp_path / "pid"
    async with serving(worker_app.app, config):
        task_id = await worker_app.write_pid_later.aenqueue(aconn, str(note))
        await until_status(aconn, task_id, "completed")
        (pid,) = await pids_in(note, 1)
        assert alive(pid)
    assert not alive(pid)


async def test_a_thread_is_told_of_its_timeout_and_taken_away_when_it_does_not_listen(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = pgq.App()
    told, end = threading.Event(), threading.Event()
    ran: list[int] = []

    @app.queue("q", backoff=pgq.Fixed(0)).task(timeout=0.3)
    def stubborn() -> None:
        ran.append(pgq.context().attempt)
        if pgq.context().attempt == 1:
            if pgq.context().wait_cancelled(10):
                told.set()
            end.wait(20)

    await app.adeclare(aconn)
    task_id = await stubborn.aenqueue(aconn)
    async with serving(app, config):
        await eventually(lambda: asyncio.sleep(0, told.is_set()))
        row = await until_status(aconn, task_id, "completed")
        assert row.attempts == 2
        assert "0.3" in row.last_error
        end.set()
        after = await stubborn.aenqueue(aconn)
        await until_status(aconn, after, "processing", "completed")
        row = await until_status(aconn, task_id, "completed")
    assert ran[:2] == [1, 2]
    assert row.attempts == 2


async def test_a_thread_that_heeds_its_timeout_may_still_return(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = pgq.App()

    @app.queue("q").task(timeout=0.2)
    def polite() -> None:
        assert pgq.context().wait_cancelled(10)
        assert pgq.context().cancelled

    await app.adeclare(aconn)
    task_id = await polite.aenqueue(aconn)
    async with serving(app, config):
        row = await until_status(aconn, task_id, "completed")
    assert row.attempts == 1


async def test_one_overdue_thread_does_not_keep_its_own_second_run_from_being_seen(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    """The first run ends while the second one runs in the same worker; both under one id."""
    app = pgq.App()
    second_runs, end_first, end_second = threading.Event(), threading.Event(), threading.Event()

    @app.queue("q", backoff=pgq.Fixed(0)).task
    def slow() -> None:
        if pgq.context().attempt == 1:
            end_first.wait(20)
        else:
            second_runs.set()
            end_second.wait(20)

    await app.adeclare(aconn)
    task_id = await slow.options(timeout=0.2).aenqueue(aconn)
    await aconn.execute("update pgq.queues set timeout = 600")
    async with serving(app, config) as worker:
        await until_status(aconn, task_id, "processing")
        await eventually(lambda: asyncio.sleep(0, second_runs.is_set()))
        end_first.set()
        await eventually(lambda: asyncio.sleep(0, worker.board.running == 1))
        assert task_id in worker.runner.running
        end_second.set()
        row = await until_status(aconn, task_id, "completed")
        assert row.attempts == 2
        await eventually(lambda: asyncio.sleep(0, not worker.runner.running))
