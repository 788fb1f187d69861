"""Before a last attempt begins inside its worker, Postgres knows of it; a run that must not begin does not."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
import worker_app
from pooler import OWN_SESSION
from serving import eventually, serving, sessions, task_row, until_status

import pgq


@OWN_SESSION
@pytest.mark.parametrize(("max_attempts", "known"), [(1, True), (2, False)])
@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_last_attempt_is_known_before_its_handler_starts(
    config: pgq.Config, dsn: str, aconn: psycopg.AsyncConnection, max_attempts: int, known: bool, kind: str
) -> None:
    app = pgq.App()
    seen: list[Any] = []

    def look() -> None:
        with psycopg.connect(dsn) as conn:
            query = "select suspect from pgq.tasks where id = %s"
            seen.append(conn.execute(query, (pgq.context().id,)).fetchone())

    async def look_async() -> None:
        look()

    task = app.queue("q").task(name="look", max_attempts=max_attempts)(look if kind == "thread" else look_async)
    await app.adeclare(aconn)
    task_id = await task.aenqueue(aconn)
    async with serving(app, config):
        await until_status(aconn, task_id, "completed")
        assert len(await sessions(aconn, "begin")) == known  # no connection where nobody needs it
    assert seen == [(known,)]


@pytest.mark.parametrize(("crashes", "known"), [(0, False), (2, False), (3, True)])
async def test_in_a_process_of_its_own_only_a_task_of_three_crashes_is_suspect(
    config: pgq.Config, aconn: psycopg.AsyncConnection, crashes: int, known: bool, tmp_path: Any
) -> None:
    await worker_app.app.adeclare(aconn)
    task_id = await worker_app.hang.options(max_attempts=1).aenqueue(aconn, str(tmp_path / "pids"))
    await aconn.execute("update pgq.tasks set crashes = %s", (crashes,))
    async with serving(worker_app.app, config):
        await eventually(lambda: asyncio.sleep(0, (tmp_path / "pids").exists()))
        assert (await task_row(aconn, task_id)).suspect is known
        await aconn.execute("select pgq.cancel(%s)", (task_id,))
        await until_status(aconn, task_id, "cancelled")


@pytest.mark.parametrize("why", ["lost", "cancelled"])
@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_task_that_is_taken_away_while_it_waits_to_begin_does_not_start(
    config: pgq.Config, aconn: psycopg.AsyncConnection, why: str, kind: str
) -> None:
    app = pgq.App()
    asked, go, ran = asyncio.Event(), asyncio.Event(), []

    async def run_async() -> None:
        ran.append("async")

    def run_sync() -> None:
        ran.append("thread")

    task = app.queue("q", max_attempts=1).task(name="run")(run_sync if kind == "thread" else run_async)
    await app.adeclare(aconn)
    async with serving(app, config) as worker:
        begin = worker.starts.begin

        async def begin_later(*task: Any, **how: Any) -> bool:
            asked.set()
            await go.wait()
            return await begin(*task, **how)

        worker.starts.begin = begin_later
        task_id = await task.aenqueue(aconn)
        await asked.wait()
        if why == "cancelled":
            await aconn.execute("select pgq.cancel(%s)", (task_id,))
        else:  # as another worker's claim does
            await aconn.execute("update pgq.tasks set lease = gen_random_uuid() where id = %s", (task_id,))
        go.set()
        if why == "cancelled":
            await until_status(aconn, task_id, "cancelled")
        else:
            await eventually(lambda: asyncio.sleep(0, worker.settler.lost == 1))
            await aconn.execute("update pgq.tasks set status = 'completed'")
    assert ran == []


async def test_a_run_that_waits_to_begin_spends_nothing_of_its_timeout(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = pgq.App()
    left: list[float] = []

    @app.queue("q", max_attempts=1).task(timeout=0.5)
    async def note() -> None:
        left.append(pgq.context().remaining)

    await app.adeclare(aconn)
    async with serving(app, config) as worker:
        begin = worker.starts.begin

        async def begin_late(*task: Any, **how: Any) -> bool:
            await asyncio.sleep(0.8)  # Postgres is slow to answer
            return await begin(*task, **how)

        worker.starts.begin = begin_late
        await until_status(aconn, await note.aenqueue(aconn), "completed")
    assert 0.4 < left[0] <= 0.5
