"""Handlers of every kind that look at their context and complete themselves; children import this module too."""

from __future__ import annotations

import asyncio

import psycopg

import pgq

app = pgq.App(path="context_app:app")
queue = app.queue("ctx", max_attempts=3, backoff=pgq.Fixed(0))

TABLES = """
create table seen (kind text, id bigint, attempt integer, remaining float, token text, cancelled boolean);
create table effects (kind text, n integer unique deferrable initially deferred);
create table notes (text text);
"""


class FirstAttemptError(Exception):
    """The first attempt fails here on purpose."""


def look(kind: str, dsn: str) -> None:
    """Write down what the context says; the first attempt fails afterwards."""
    run = pgq.context()
    row = (kind, run.id, run.attempt, run.remaining, run.fencing_token, run.cancelled)
    with psycopg.connect(dsn) as conn:
        conn.execute("insert into seen values (%s, %s, %s, %s, %s, %s)", row)
    if run.attempt == 1:
        raise FirstAttemptError


@queue.task(timeout=20)
async def look_async(dsn: str) -> None:
    await asyncio.sleep(0)
    look("async", dsn)


@queue.task(timeout=20)
def look_thread(dsn: str) -> None:
    look("thread", dsn)


@queue.task(timeout=20, process=True)
def look_process(dsn: str) -> None:
    look("process", dsn)


@queue.task(timeout=20, process=True)
async def look_async_process(dsn: str) -> None:
    await asyncio.sleep(0)
    look("async process", dsn)


def lose_lease(dsn: str) -> None:
    """Do to this run what recovery and another worker's claim do to one that was silent for too long."""
    with psycopg.connect(dsn) as conn:
        conn.execute("update pgq.tasks set lease = gen_random_uuid() where id = %s", (pgq.context().id,))


def note(dsn: str, text: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute("insert into notes values (%s)", (text,))


def work(kind: str, dsn: str, trouble: str) -> pgq.Retry | None:
    """Write an effect and complete the task with it; `trouble` says what happens to the first attempt."""
    run = pgq.context()
    first = run.attempt == 1
    try:
        with psycopg.connect(dsn) as conn, conn.transaction():
            conn.execute("insert into effects values (%s, 1)", (kind,))
            if first and trouble == "lease":
                lose_lease(dsn)
            if first and trouble == "commit":
                conn.execute("insert into effects values (%s, 1)", (kind,))
            run.complete_in(conn)
            if first and trouble == "exception":
                raise FirstAttemptError
    except pgq.LeaseLost as error:
        note(dsn, str(error))
        raise
    except psycopg.errors.UniqueViolation:
        return pgq.Retry(after=0)
    if first and trouble == "after":
        raise FirstAttemptError
    return None


@queue.task
async def work_async(dsn: str, trouble: str) -> pgq.Retry | None:
    run = pgq.context()
    first = run.attempt == 1
    try:
        async with await psycopg.AsyncConnection.connect(dsn) as conn, conn.transaction():
            await conn.execute("insert into effects values ('async', 1)")
            if first and trouble == "lease":
                lose_lease(dsn)
            if first and trouble == "commit":
                await conn.execute("insert into effects values ('async', 1)")
            await run.acomplete_in(conn)
            if first and trouble == "exception":
                raise FirstAttemptError
    except pgq.LeaseLost as error:
        note(dsn, str(error))
        raise
    except psycopg.errors.UniqueViolation:
        return pgq.Retry(after=0)
    if first and trouble == "after":
        raise FirstAttemptError
    return None


@queue.task
def work_thread(dsn: str, trouble: str) -> pgq.Retry | None:
    return work("thread", dsn, trouble)


@queue.task(process=True)
def work_process(dsn: str, trouble: str) -> pgq.Retry | None:
    return work("process", dsn, trouble)


@queue.task(timeout=0.3, max_attempts=1)
async def overrun_async(dsn: str) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        run = pgq.context()
        note(dsn, f"cancelled={run.cancelled} late={run.remaining < 0}")


@queue.task(timeout=0.3, max_attempts=1)
def overrun_thread(dsn: str) -> None:
    run = pgq.context()
    waited = run.wait_cancelled(30)
    note(dsn, f"cancelled={waited and run.cancelled} late={run.remaining < 0}")
    raise TimeoutError


@queue.task(timeout=1, max_attempts=1, process=True)
def overrun_process(dsn: str) -> None:
    pgq.context().wait_cancelled(30)
    note(dsn, "a killed process writes nothing")
