"""complete_in: a task completes in the same transaction as its handler's own writes, so its effects happen once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import context_app
import psycopg
import pytest
from doors import DOORS, Door, done
from factory import QUEUE, held, make_task, task_row

import pgq
from pgq.context import Context
from pgq.worker import Worker

KINDS = {
    "async": context_app.work_async,
    "thread": context_app.work_thread,
    "process": context_app.work_process,
}


@pytest.fixture(autouse=True)
def _tables(conn: psycopg.Connection) -> None:
    conn.execute(context_app.TABLES)
    context_app.app.declare(conn)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=DOORS)
async def door(request: pytest.FixtureRequest, dsn: str) -> AsyncIterator[Door]:
    async with DOORS[request.param](dsn) as door:
        yield door


async def worked(config: pgq.Config, conn: psycopg.Connection, kind: str, trouble: str) -> int:
    """Enqueue one task and work until it no longer waits; returns its id."""
    task_id = KINDS[kind].enqueue(conn, dsn=config.dsn, trouble=trouble)
    while task_row(conn, task_id).status == "pending":
        await Worker(context_app.app, config).run(burst=True)
    return task_id


def effects(conn: psycopg.Connection) -> list[str]:
    return [row[0] for row in conn.execute("select kind from effects").fetchall()]


async def test_a_commit_completes_the_task_with_the_writes(
    config: pgq.Config, conn: psycopg.Connection, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = await worked(config, conn, kind, "none")
    row = task_row(conn, task_id)
    assert (row.status, row.attempts, row.lease, row.last_error) == ("completed", 1, None, None)
    assert row.completed_at is not None
    assert effects(conn) == [kind]
    assert conn.execute("select completed from pgq.counts where queue = 'ctx'").fetchall() == [(1,)]
    assert "lease lost" not in caplog.text


async def test_an_exception_after_it_rolls_both_back_and_the_task_runs_again(
    config: pgq.Config, conn: psycopg.Connection, kind: str
) -> None:
    row = task_row(conn, await worked(config, conn, kind, "exception"))
    assert (row.status, row.attempts, row.last_error) == ("completed", 2, "FirstAttemptError: ")
    assert effects(conn) == [kind]


async def test_a_commit_that_fails_can_be_answered_with_a_retry(
    config: pgq.Config, conn: psycopg.Connection, kind: str
) -> None:
    row = task_row(conn, await worked(config, conn, kind, "commit"))
    assert (row.status, row.attempts) == ("completed", 2)
    assert effects(conn) == [kind]


async def test_an_exception_after_the_commit_undoes_nothing(
    config: pgq.Config, conn: psycopg.Connection, kind: str
) -> None:
    row = task_row(conn, await worked(config, conn, kind, "after"))
    assert (row.status, row.attempts) == ("completed", 1)
    assert effects(conn) == [kind]


async def test_a_lost_lease_rolls_the_writes_back(config: pgq.Config, conn: psycopg.Connection, kind: str) -> None:
    task_id = await worked(config, conn, kind, "lease")
    assert effects(conn) == []
    message = f"task {task_id} was given to another worker; nothing of this run was recorded"
    assert conn.execute("select text from notes").fetchall() == [(message,)]
    row = task_row(conn, task_id)
    assert (row.status, row.last_error, row.completed_at) == ("processing", None, None)
    assert row.lease is not None


async def complete(context: Context, door: Door) -> None:
    await done(context.acomplete_in(door.conn) if door.is_async else context.complete_in(door.conn))


async def test_every_door_completes_with_its_transaction(door: Door, conn: psycopg.Connection) -> None:
    task_id = make_task(conn, status="processing", unique_key="k")
    context = Context(held(conn, task_id))
    await complete(context, door)
    assert task_row(conn, task_id).status == "processing"
    await done(door.rollback())
    assert task_row(conn, task_id).status == "processing"


async def test_every_door_commits_the_completion_and_frees_the_key(door: Door, conn: psycopg.Connection) -> None:
    task_id = make_task(conn, status="processing", unique_key="k")
    await complete(Context(held(conn, task_id)), door)
    await done(door.commit())
    row = task_row(conn, task_id)
    assert (row.status, row.lease) == ("completed", None)
    assert conn.execute("select * from pgq.unique_keys").fetchall() == []
    assert conn.execute("select queue, completed from pgq.counts").fetchall() == [(QUEUE, 1)]


async def test_every_door_tells_of_a_lost_lease(door: Door, conn: psycopg.Connection) -> None:
    task_id = make_task(conn, status="processing")
    context = Context(held(conn, task_id))
    conn.execute("update pgq.tasks set lease = gen_random_uuid()")
    with pytest.raises(pgq.LeaseLost, match=f"task {task_id} was given to another worker"):
        await complete(context, door)
    assert context.cancelled
    assert not context.completed


def test_a_transaction_that_is_tried_again_completes_at_its_second_try(conn: psycopg.Connection) -> None:
    context = Context(held(conn, make_task(conn, status="processing")))
    with conn.transaction(force_rollback=True):
        context.complete_in(conn)
    with conn.transaction():
        context.complete_in(conn)
    assert task_row(conn, context.id).status == "completed"
