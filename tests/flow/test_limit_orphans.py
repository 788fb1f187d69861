"""What a dead worker left at the limiter is let go of by whoever saw it die, and nothing else is."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from factory import make_queue, make_task, make_worker

import pgq
from pgq.gate import Gate
from pgq.grants import Limit, key_limit, mark_of, queue_limit
from pgq.limit import hold, look, standings, take
from pgq.limiter import call, connect_redis
from pgq.orphans import estate, let_go
from pgq.quota import KeyLimit, Quota

QUOTA = Quota(10, 60.0, 10)


@pytest.fixture
def client(config: pgq.Config) -> Iterator[Any]:
    client = connect_redis(config.redis_url)
    yield client
    client.close()


def stands(client: Any, limit: Limit) -> tuple[int, int]:
    (standing,) = standings(call(client, look(30, [limit])))
    return standing.used, standing.running


def test_permits_of_its_queues_go_by_its_mark_whether_claimed_or_not_and_their_units_stay(
    config: pgq.Config, conn: psycopg.Connection, client: Any
) -> None:
    make_queue(conn, "q", rate_max=10, rate_per=60, concurrency=10)
    limit = queue_limit(config.limit_prefix, "q", QUOTA)
    call(client, hold(30, [], limit.place, complete=True, units=True))
    for name, count in (("dead", 3), ("alive", 2)):
        gate = Gate(limit, mark_of(name))
        gate.permits(count, 0.0)
        assert gate.ask is not None
        call(client, take(limit, 30, gate.ask[0].hex, count))
    assert stands(client, limit) == (5, 5)
    let_go(config, estate(conn, "dead", {1}, ["q"], config.limit_prefix))
    assert stands(client, limit) == (5, 2)


def test_permits_of_keys_go_by_the_tasks_that_carry_them(
    config: pgq.Config, conn: psycopg.Connection, client: Any
) -> None:
    make_queue(conn, "q")
    conn.execute("insert into pgq.limits (name, rate_max, rate_per, concurrency) values ('customer', 10, 60, 10)")
    limit = key_limit(config.limit_prefix, "customer:a", KeyLimit("customer", QUOTA))
    dead, alive = make_worker(conn), make_worker(conn)
    held = []
    for worker in (dead, dead, alive):
        lease = uuid.uuid4()
        keys = {"limit_keys": ["customer:a"], "weight": 2}
        task = make_task(conn, queue="q", status="processing", lease=lease, worker_id=worker, **keys)
        held.append((limit, (f"{lease.hex}/{task}", 2, 1)))
    call(client, hold(30, held, limit.place, complete=True, units=True))
    assert stands(client, limit) == (6, 3)
    let_go(config, estate(conn, "dead", {dead}, ["q"], config.limit_prefix))
    assert stands(client, limit) == (6, 1)


def test_where_nothing_is_limited_or_the_limiter_is_away_nothing_happens(
    config: pgq.Config, conn: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    away = replace(config, redis_url="redis://127.0.0.1:1")
    make_queue(conn, "q")
    let_go(away, estate(conn, "dead", {1}, ["q"], config.limit_prefix))
    assert caplog.text == ""
    make_queue(conn, "limited", concurrency=1)
    let_go(away, estate(conn, "dead", {1}, ["q", "limited"], config.limit_prefix))
    assert "what it held at the limiter lapses after 3 s" in caplog.text
