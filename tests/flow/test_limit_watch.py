"""The watch over limits: what nobody holds is released, and Postgres shows where limits stand."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from factory import make_queue, make_task, make_worker
from serving import eventually

import pgq
from pgq.gate import Gate, own_limit
from pgq.grants import Request, key_limit
from pgq.limit import acquire, hold, take, taken
from pgq.limiter import acall, aconnect_redis
from pgq.queue import Settings
from pgq.quota import KeyLimit, Quota
from pgq.watch import Watch


@pytest.fixture
async def client(config: pgq.Config) -> AsyncIterator[Any]:
    client = aconnect_redis(config.redis_url)
    yield client
    await client.aclose()


async def test_a_permit_that_no_task_carries_is_released_once_it_was_seen_so_for_half_a_lease(
    config: pgq.Config, conn: psycopg.Connection, aconn: psycopg.AsyncConnection, client: Any
) -> None:
    make_queue(conn, "q", concurrency=5)
    gate = Gate(own_limit(config.limit_prefix, Settings(name="q", concurrency=5)))
    carried = uuid.uuid4()
    make_task(conn, queue="q", status="processing", lease=carried, worker_id=make_worker(conn))
    permits = [(gate.limit, (name, count, count)) for name, count in ((carried.hex, 1), (uuid.uuid4().hex, 3))]
    await acall(client, hold(30, permits, gate.limit.place, complete=True, units=True))
    moments = iter([100.0, 100.0 + config.lease / 2, 100.1 + config.lease / 2])
    watch = Watch(config, client, lambda: next(moments))
    for _ in range(2):
        await watch.look(aconn)
        assert taken(await acall(client, take(gate.limit, 30, "early", 5))).granted == 1
        await acall(client, take(gate.limit, 30, "", 0, [("early", 0, 0)]))
    await watch.look(aconn)
    assert taken(await acall(client, take(gate.limit, 30, "late", 5))).granted == 4


@pytest.mark.parametrize(("lease", "free"), [(1.0, 5), (30.0, 2)])
async def test_a_permit_that_was_granted_long_ago_and_carried_by_no_task_is_released_at_the_first_look(
    lease: float, free: int, config: pgq.Config, conn: psycopg.Connection, aconn: psycopg.AsyncConnection, client: Any
) -> None:
    """By whichever worker's: with many of them, one seldom looks twice. Sooner, a claim may be under way for it."""
    make_queue(conn, "q", concurrency=5)
    gate = Gate(own_limit(config.limit_prefix, Settings(name="q", concurrency=5)))
    await acall(client, hold(30, [], gate.limit.place, complete=True, units=True))
    await acall(client, take(gate.limit, 30, uuid.uuid4().hex, 3))
    began = await now(client)

    async def half_a_second_passed() -> bool:
        return await now(client) > began + 0.6

    await eventually(half_a_second_passed)
    await acall(client, take(gate.limit, 30, "", 0))
    await Watch(replace(config, lease=lease, upkeep=1e-6), client).look(aconn)
    assert taken(await acall(client, take(gate.limit, 30, "next", 5))).granted == free


async def now(client: Any) -> float:
    """Return the limiter's clock."""
    seconds, micros = await client.time()
    return float(seconds + micros / 1e6)


async def test_postgres_shows_where_queues_and_the_busiest_keys_stand(
    config: pgq.Config, conn: psycopg.Connection, aconn: psycopg.AsyncConnection, client: Any
) -> None:
    make_queue(conn, "q", rate_max=10, rate_per=60, concurrency=5)
    conn.execute("insert into pgq.limits (name, rate_max, rate_per) values ('customer', 1, 60)")
    gate = Gate(own_limit(config.limit_prefix, Settings(name="q", rate_max=10, rate_per=60, concurrency=5)))
    await acall(client, hold(30, [], gate.limit.place, complete=True, units=True))
    await acall(client, take(gate.limit, 30, "p", 3))
    key = key_limit(config.limit_prefix, "customer:acme", KeyLimit("customer", Quota(1, 60.0)))
    await acall(client, hold(30, [], key.place, complete=True, units=True))
    requests = [Request(f"p{number}", (key,)) for number in range(4)]
    await acall(client, acquire(config.limit_prefix, 30, requests))
    await Watch(config, client).look(aconn)
    rows = conn.execute(
        "select name, used, running, denied, throttled_until > clock_timestamp() from pgq.limit_stats"
        " where name in ('queue:q', 'customer:acme') order by name"
    ).fetchall()
    assert rows == [("customer:acme", 1, 1, 3, True), ("queue:q", 3, 3, 0, None)]


async def test_without_the_limiter_the_watch_waits_for_it(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    client = aconnect_redis("redis://127.0.0.1:1")
    await Watch(config, client).look(aconn)
    await client.aclose()
    assert await (await aconn.execute("select count(*) from pgq.limit_usage")).fetchone() == (0,)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "redis+cluster://127.0.0.1:1"])
async def test_while_the_limiter_is_away_there_is_nothing_to_see_and_upkeep_goes_on(
    config: pgq.Config, conn: psycopg.Connection, aconn: psycopg.AsyncConnection, url: str
) -> None:
    make_queue(conn, "q", concurrency=5)
    client = aconnect_redis(url)
    await Watch(config, client).look(aconn)
    await client.aclose()
    assert conn.execute("select * from pgq.limit_usage").fetchall() == []
