"""Every public use, as a type checker sees it; nothing here is ever run."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

import psycopg
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

import pgq

app = pgq.App(path="package.module:app")
email = app.queue(
    "email",
    concurrency=5,
    rate_limit=pgq.Rate(100, per=60),
    timeout=30,
    max_attempts=3,
    backoff=pgq.Exponential(5, jitter=0.1, cap=600),
    keep_dead=True,
    retention=timedelta(days=7),
    on_limiter_down="run",
)
assert_type(email, pgq.Queue)
assert_type(email.name, str)
app.queue("plain", backoff=pgq.Fixed(10.0), retention=0)


@email.task
def send(to: str, subject: str = "hello", *, copies: int = 1, reply_to: str | None = None) -> bool:
    return bool(to and subject and copies and reply_to)


@email.task(name="later", priority=8, max_attempts=7, timeout=90)
async def send_later(to: str, tags: list[str] | None = None) -> int:
    return len(to) + len(tags or [])


@email.task(process=True)
def render(page: Mapping[str, Any], **extra: int) -> pgq.Retry | pgq.Snooze | pgq.Dead | None:
    if extra:
        return pgq.Retry(after=timedelta(minutes=1), reason="not yet")
    if page:
        return pgq.Snooze(datetime(2091, 1, 1, tzinfo=UTC))
    return pgq.Dead("nothing to render")


@email.task()
def tick() -> None: ...


assert_type(app.key_limit("customer", rate=pgq.Rate(10, per=1), concurrency=2), pgq.KeyLimit)
assert_type(app.key_limit("host", concurrency=2), pgq.KeyLimit)


@email.task(limit_key="customer:{customer}", weight=3)
def bill(customer: str) -> None: ...


@email.task(limit_key=["customer:{customer}", "host:smtp"])
def remind(customer: str) -> None: ...


def calls() -> None:
    assert_type(send("a"), bool)
    assert_type(send(to="a", subject="b", copies=2, reply_to=None), bool)
    pending: Coroutine[Any, Any, int] = send_later("a", ["b"])
    pending.close()
    assert_type(render({}, width=1), pgq.Retry | pgq.Snooze | pgq.Dead | None)
    tick()


async def awaited() -> None:
    assert_type(await send_later("a"), int)


def sync(conn: psycopg.Connection, session: Session, django: Any) -> None:
    assert_type(send.enqueue(conn, to="a"), int)
    assert_type(send.enqueue(session, "a", "b", copies=3), int)
    assert_type(send.enqueue(django, to="a", reply_to="b"), int)
    assert_type(send_later.enqueue(conn, to="a", tags=["b"]), int)
    assert_type(render.enqueue(conn, {"a": 1}, width=2, height=3), int)
    assert_type(tick.enqueue(conn), int)
    assert_type(send.enqueue_many(conn, [{"to": "a"}, {"to": "b", "copies": 2}]), list[int])
    assert_type(send.copy(conn, ({"to": str(n)} for n in range(9))), int)


async def asynchronous(conn: psycopg.AsyncConnection, session: AsyncSession) -> None:
    assert_type(await send.aenqueue(conn, to="a"), int)
    assert_type(await send_later.aenqueue(session, "a"), int)
    assert_type(await send_later.aenqueue_many(conn, [{"to": "a"}]), list[int])
    assert_type(await send.options(unique_key="k", on_conflict="skip").aenqueue(conn, to="a"), int | None)


def options(conn: psycopg.Connection) -> None:
    chosen = send.options(priority=0, delay=60, max_attempts=3, timeout=1.5, unique_key="k")
    assert_type(chosen.enqueue(conn, to="a"), int)
    assert_type(chosen("a"), bool)
    assert_type(send.options(delay=timedelta(hours=1)).enqueue(conn, to="a"), int)
    assert_type(send.options(scheduled_at=datetime.now(UTC)).enqueue(conn, to="a"), int)
    assert_type(send.options(delay=None, timeout=None, unique_key=None).enqueue(conn, to="a"), int)
    assert_type(send.options(unique_key="k", on_conflict="raise").enqueue(conn, to="a"), int)
    assert_type(send.options(unique_key="k", on_conflict="replace").enqueue(conn, to="a"), int)
    assert_type(send.options(unique_key="k", on_conflict="return_existing").enqueue(conn, to="a"), int)
    assert_type(send.options(limit_key="customer:acme", weight=3).enqueue(conn, to="a"), int)
    assert_type(send.options(limit_key=("customer:acme", "host:smtp")).enqueue(conn, to="a"), int)
    assert_type(bill.options(limit_key=None).enqueue(conn, "acme"), int)
    assert_type(bill.options(unique_key="k", on_conflict="skip", weight=2).enqueue(conn, "acme"), int | None)
    skipping = send.options(on_conflict="skip")
    assert_type(skipping.enqueue(conn, to="a"), int | None)
    assert_type(skipping.options(unique_key="k").enqueue(conn, to="a"), int | None)
    assert_type(skipping.options(unique_key="k", on_conflict="raise").enqueue(conn, to="a"), int)


def passing_handlers_around(conn: psycopg.Connection) -> None:
    function: Callable[[str], bool] = send
    assert_type(function("a"), bool)
    by_name = app.handler("send")
    assert_type(by_name.enqueue(conn, anything="goes"), int)
    assert_type(app.queues, dict[str, pgq.Queue])


def declaring(conn: psycopg.Connection) -> None:
    assert_type(app.declare(conn), list[str])
    assert_type(app.key_limits, dict[str, pgq.KeyLimit])


async def declaring_async(conn: psycopg.AsyncConnection) -> None:
    assert_type(await app.adeclare(conn), list[str])


async def inside_a_handler(conn: psycopg.Connection, aconn: psycopg.AsyncConnection) -> None:
    run = pgq.context()
    assert_type(run, pgq.Context)
    assert_type((run.id, run.attempt), tuple[int, int])
    assert_type(run.fencing_token, str)
    assert_type(run.remaining, float)
    assert_type(run.cancelled, bool)
    assert_type(run.wait_cancelled(1), bool)
    run.complete_in(conn)
    await run.acomplete_in(aconn)


def in_web_code() -> None:
    app.redis_url = "redis://127.0.0.1"
    with app.limit("smtp", key="mx.example.org") as permit:
        assert_type(permit, pgq.Permit)
        assert_type(permit.held, bool)
        permit.throttle(30)
    try:
        with app.limit("smtp", key="a", weight=2, timeout=0.5, hold=300, on_down="run"):
            pass
    except pgq.LimitExceeded as error:
        assert_type(error.retry_after, float)
    except pgq.LimiterDown as error:
        down: pgq.PgqError = error
        raise down from None


async def in_async_web_code() -> None:
    async with app.limit("smtp", key="mx.example.org", timeout=None, on_down="wait") as permit:
        assert_type(permit, pgq.Permit)
        await permit.athrottle(30)


def errors(conn: psycopg.Connection) -> None:
    try:
        send.enqueue(conn, to="a")
    except (pgq.InvalidPayload, pgq.InvalidOption) as error:
        refused: ValueError = error
        raise refused from None
    except (pgq.UnknownQueue, pgq.UniqueKeyTaken, pgq.ConfigError, pgq.LeaseLost) as error:
        ours: pgq.PgqError = error
        raise ours from None
