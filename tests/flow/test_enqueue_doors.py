"""One contract for every kind of connection: the enqueue is part of the caller's own transaction."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from doors import DOORS, Door, done
from enqueue_app import app, digest, haunt, ids, note, rows, send

import pgq
from pgq.db import Call, arun, run


class CallersOwnError(Exception):
    """What a caller's own code may raise in the middle."""


@pytest.fixture(autouse=True)
def _declared(conn: psycopg.Connection) -> None:
    app.declare(conn)


@pytest.fixture(params=DOORS)
async def door(request: pytest.FixtureRequest, dsn: str) -> AsyncIterator[Door]:
    async with DOORS[request.param](dsn) as door:
        yield door


async def test_a_commit_brings_the_task_with_every_column_right(door: Door, dsn: str) -> None:
    task_id = await door.enqueue(send, to="ada@example.org")
    assert rows(dsn) == []
    await done(door.commit())
    (row,) = rows(dsn)
    born = row.pop("created_at")
    assert abs(row.pop("scheduled_at") - born) < timedelta(seconds=1)
    assert datetime.now(UTC) - born < timedelta(seconds=30)
    assert row == {
        "id": task_id, "queue": "mail", "task": "send", "payload": '{"to":"ada@example.org"}', "status": "pending",
        "priority": 5, "attempts": 0, "max_attempts": 3, "timeout": 30.0, "crashes": 0, "cancel_requested": False,
        "suspect": False,
        "started_at": None, "completed_at": None, "worker_id": None, "lease": None, "unique_key": None,
        "last_error": None, "traceback": None, "limit_keys": None, "weight": None, "bounces": 0, "throttled_by": None,
        "trace": None,
    }  # fmt: skip


async def test_a_rollback_leaves_nothing(door: Door, dsn: str) -> None:
    await door.enqueue(send, to="a")
    await door.enqueue(send.options(unique_key="k"), to="b")
    await door.enqueue_many(send, [{"to": "c"}, {"to": "d"}])
    await done(door.rollback())
    assert rows(dsn) == []


async def test_a_rolled_back_savepoint_leaves_only_what_came_before(door: Door, dsn: str) -> None:
    kept = await door.enqueue(send, to="kept")
    with suppress(CallersOwnError):
        async with door.savepoint():
            await door.enqueue(send.options(unique_key="k"), to="gone")
            raise CallersOwnError
    freed = await door.enqueue(send.options(unique_key="k"), to="the key is free again")
    await done(door.commit())
    assert ids(dsn) == [kept, freed]


async def test_many_ids_come_in_the_order_of_the_payloads(door: Door, dsn: str) -> None:
    added = await door.enqueue_many(send, [{"to": str(i)} for i in range(50)])
    await done(door.commit())
    there = {row["id"]: json.loads(row["payload"])["to"] for row in rows(dsn)}
    assert [there[task_id] for task_id in added] == [str(i) for i in range(50)]


async def test_many_of_nothing_is_nothing(door: Door, dsn: str) -> None:
    assert await door.enqueue_many(send, []) == []
    await done(door.commit())
    assert rows(dsn) == []


async def test_options_become_columns(door: Door, dsn: str) -> None:
    moment = datetime(2091, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)
    chosen = send.options(priority=0, scheduled_at=moment, max_attempts=9, timeout=1.5)
    await door.enqueue(chosen, to="a")
    await door.enqueue(chosen.options(unique_key="k"), to="b")
    await door.enqueue_many(chosen, [{"to": "c"}])
    await door.enqueue(digest, day="monday")
    await done(door.commit())
    *three, one = rows(dsn)
    for row in three:
        assert (row["priority"], row["scheduled_at"], row["max_attempts"], row["timeout"]) == (0, moment, 9, 1.5)
    assert (one["priority"], one["max_attempts"], one["timeout"]) == (8, 7, 90.0)


async def test_a_delay_counts_from_now(door: Door, dsn: str) -> None:
    await door.enqueue(send.options(delay=60), to="a")
    await door.enqueue(send.options(delay=timedelta(minutes=1)), to="b")
    await door.enqueue(send.options(delay=60.0, unique_key="k"), to="c")
    await done(door.commit())
    for row in rows(dsn):
        waits = row["scheduled_at"] - row["created_at"]
        assert timedelta(seconds=59) < waits < timedelta(seconds=61)


async def test_payloads_arrive_as_written(door: Door, dsn: str) -> None:
    body = {"text": "Grüße 🎈 'quoted' \"twice\" %s %(x)s $1 \\ \t\n", "big": 10**30, "float": 0.1 + 0.2, "none": None}
    await door.enqueue(note, body=body)
    await door.enqueue_many(note, [{"body": body}])
    await door.enqueue(note.options(unique_key="k'%s"), body=body)
    await done(door.commit())
    assert [json.loads(row["payload"]) for row in rows(dsn)] == [{"body": body}] * 3


async def test_an_unknown_queue_is_named_and_the_transaction_goes_on(door: Door, dsn: str) -> None:
    with pytest.raises(pgq.UnknownQueue, match="unknown queue 'ghost': run `pgq queues sync"):
        await door.enqueue(haunt)
    with pytest.raises(pgq.UnknownQueue, match="ghost"):
        await door.enqueue_many(haunt, [{}])
    kept = await door.enqueue(send, to="a")
    await done(door.commit())
    assert ids(dsn) == [kept]


async def test_what_is_refused_before_sql_leaves_the_transaction_alone(door: Door, dsn: str) -> None:
    with pytest.raises(pgq.InvalidPayload, match=r"payload\.body must be a JSON value, got bytes"):
        await door.enqueue(note, body=b"x")
    with pytest.raises(pgq.InvalidPayload, match="payload 1: arguments do not fit send"):
        await door.enqueue_many(send, [{"to": "a"}, {"two": "b"}])
    with pytest.raises(pgq.InvalidOption, match="priority must be 0 to 10, got 11"):
        await door.enqueue(send.options(priority=11), to="a")
    kept = await door.enqueue(send, to="a")
    await done(door.commit())
    assert ids(dsn) == [kept]


async def test_a_taken_key_is_an_error_that_names_its_holder(door: Door, dsn: str) -> None:
    holder = await door.enqueue(send.options(unique_key="order 7"), to="a")
    with pytest.raises(pgq.UniqueKeyTaken) as caught:
        async with door.savepoint():
            await door.enqueue(send.options(unique_key="order 7"), to="b")
    assert str(caught.value) == f"unique_key 'order 7' of queue 'mail' is held by task {holder}"
    assert caught.value.__cause__ is not None
    await done(door.commit())
    assert ids(dsn) == [holder]


async def test_an_error_of_the_server_aborts_the_transaction_as_always(door: Door, dsn: str) -> None:
    await door.enqueue(send.options(unique_key="k"), to="a")
    with pytest.raises(pgq.UniqueKeyTaken):
        await door.enqueue(send.options(unique_key="k"), to="b")
    with pytest.raises(Exception, match="current transaction is aborted"):
        await door.enqueue(send, to="c")
    await done(door.rollback())
    assert rows(dsn) == []


async def test_the_server_refuses_options_with_the_same_class(door: Door) -> None:
    values = {
        "queue": "mail", "task": "send", "payload": "{}", "priority": 11, "delay": 0.0, "scheduled_at": None,
        "max_attempts": None, "timeout": None, "unique_key": "k", "on_conflict": "raise", "limit_keys": None,
        "weight": None, "trace": None,
    }  # fmt: skip
    with pytest.raises(pgq.InvalidOption) as caught:
        await carry_out(door, Call("enqueue_unique", values))
    assert str(caught.value) == "priority must be 0 to 10, got 11"


async def test_an_unknown_queue_under_a_key_is_named_by_the_server(door: Door) -> None:
    with pytest.raises(pgq.UnknownQueue) as caught:
        await door.enqueue(haunt.options(unique_key="k"))
    assert str(caught.value) == "unknown queue 'ghost'"


async def test_a_key_that_is_taken_can_be_skipped_returned_or_replaced(door: Door, dsn: str) -> None:
    holder = await door.enqueue(send.options(unique_key="k"), to="first")
    assert await door.enqueue(send.options(unique_key="k", on_conflict="skip"), to="second") is None
    again = send.options(unique_key="k", on_conflict="return_existing")
    assert await door.enqueue(again, to="third") == holder
    await done(door.commit())
    assert [row["payload"] for row in rows(dsn)] == ['{"to":"first"}']


async def test_a_waiting_task_is_replaced_in_place(door: Door, dsn: str) -> None:
    key = send.options(unique_key="k", on_conflict="replace")
    holder = await door.enqueue(key, to="first")
    assert await door.enqueue(key.options(priority=1, max_attempts=2, timeout=4), to="second") == holder
    await done(door.commit())
    (row,) = rows(dsn)
    assert (row["payload"], row["priority"]) == ('{"to":"second"}', 1)
    assert (row["max_attempts"], row["timeout"]) == (2, 4.0)


async def test_errors_of_the_driver_stay_the_drivers(door: Door) -> None:
    with pytest.raises(Exception, match="nowhere") as caught:
        await done(door.execute("select * from nowhere"))
    theirs = type(caught.value)
    await done(door.rollback())
    broken = Call("enqueue", {"queue": "mail", "task": "send", "payload": "{", "priority": 5, "delay": 0.0,
                              "scheduled_at": None, "max_attempts": None, "timeout": None, "limit_keys": None,
                              "weight": None, "trace": None})  # fmt: skip
    with pytest.raises(Exception, match="invalid input syntax for type json") as caught:
        await carry_out(door, broken)
    assert not isinstance(caught.value, pgq.PgqError)
    assert type(caught.value).__module__.split(".")[0] == theirs.__module__.split(".")[0]


async def test_queues_are_declared_over_every_door(door: Door, dsn: str) -> None:
    other = pgq.App()
    other.queue("b", timeout=7)
    other.queue("a", rate_limit=pgq.Rate(10, per=60))
    declare = other.adeclare if door.is_async else other.declare
    assert await done(declare(door.conn)) == ["a", "b"]
    assert await done(declare(door.conn)) == []
    await done(door.commit())
    with psycopg.connect(dsn) as conn:
        found = conn.execute("select name, timeout, rate_max from pgq.queues where name <> 'mail' order by 1")
        assert found.fetchall() == [("a", 60.0, 10), ("b", 7.0, None)]


async def carry_out(door: Door, call: Call) -> list[Any]:
    return await arun(door.conn, call) if door.is_async else run(door.conn, call)
