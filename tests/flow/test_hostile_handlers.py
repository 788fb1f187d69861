"""Whatever a handler raises or returns, its task ends, the worker keeps every slot, and the others notice nothing."""

# ruff: noqa: E501 - long lists of values

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from hostile_errors import ERRORS
from serving import eventually, listening, serving, sessions, until_status

import pgq
from pgq.task import RateLimited


class Bare(RateLimited):
    """It has none of the attributes that its base promises."""

    def __init__(self) -> None:
        """Say nothing to the base."""


class Changed(RateLimited):
    """Fine when it is made."""

    def __init__(self, **later: Any) -> None:
        super().__init__(1)
        self.__dict__.update(later)


class OwnError(BaseException):
    """Not even an Exception."""


RETURNED = [
    Bare(), Changed(retry_after="soon"), Changed(retry_after=float("nan")), Changed(key="a\0b"), Changed(key="\ud800"), Changed(key=7),
]  # fmt: skip
RAISED = [
    *ERRORS,
    *RETURNED,
    OwnError("mine"),
    BaseExceptionGroup("two", [OwnError(), ValueError()]),
    asyncio.CancelledError(),
]


def shop() -> pgq.App:
    app = pgq.App()
    queue = app.queue("q", max_attempts=1)

    @queue.task
    async def on_the_loop(place: int) -> None:
        raise RAISED[place]

    @queue.task
    def in_a_thread(place: int) -> None:
        raise RAISED[place]

    @queue.task
    async def returns(place: int) -> Any:
        return RETURNED[place]

    @queue.task
    async def fine() -> None: ...

    return app


async def test_whatever_is_raised_or_returned_ends_its_task_and_costs_no_slot(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = shop()
    await app.adeclare(aconn)
    hostile = [
        await app.handlers[name].aenqueue(aconn, place=place)
        for name, places in (("on_the_loop", RAISED), ("in_a_thread", RAISED), ("returns", RETURNED))
        for place in range(len(places))
    ]
    async with serving(app, replace(config, concurrency=2)):
        rows = [await until_status(aconn, task_id, "dead", seconds=30) for task_id in hostile]
        after = [await app.handlers["fine"].aenqueue(aconn) for _ in range(20)]
        for task_id in after:
            await until_status(aconn, task_id, "completed")
    for row in rows:
        assert (row.attempts, row.lease) == (1, None)
        assert row.last_error


NOTES = [
    "", ":", "closed", "closed:", "closed:nan:q", "closed:inf:q", "closed:-1:q", "closed:1e999:q", "closed:x:q", "closed:5", "cancel:",
    "cancel:\u00b2", "cancel:" + "9" * 5000, "cancel:-1", "cancel:9223372036854775807", "ring:nobody", "settings:x", "probe:1", "\u202e",
    "cancel:\u0663", "x" * 7000, "ring:" + "q" * 5000,
]  # fmt: skip


async def test_a_note_may_say_anything_and_the_worker_goes_on_listening(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = shop()
    await app.adeclare(aconn)
    async with serving(app, config) as worker:
        await listening(worker)
        before = await sessions(aconn, "listen")
        for note in NOTES:
            await aconn.execute("select pg_notify('pgq', %s)", (note,))
        task_id = await app.handlers["fine"].aenqueue(aconn)
        await until_status(aconn, task_id, "completed")

        async def heard() -> bool:
            return worker.doorbell.works

        await eventually(heard)
        assert await sessions(aconn, "listen") == before


@pytest.mark.parametrize("key", ["a\0b", "\ud800", "x" * 201, "a\nb", 7, b"a"])
def test_a_key_that_is_no_limit_key_is_refused_where_it_is_given(key: Any) -> None:
    with pytest.raises(pgq.errors.InvalidOption, match="RateLimited key must be"):
        RateLimited(1, key=key)
