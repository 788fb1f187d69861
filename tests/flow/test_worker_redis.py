"""Workers on the Redis that people run: a cluster, a pair that a sentinel watches, a server that may evict."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from limited_shop import Shop, fill
from redis.crc import key_slot
from serving import all_ended, eventually, serving
from valkeys import SLOTS, Server, clustered, url_of, watched

import pgq
from pgq.grants import queue_limit
from pgq.quota import Quota


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """A cluster of three nodes."""
    with clustered(tmp_path_factory.mktemp("cluster"), 3) as nodes:
        yield nodes


async def test_limits_of_queues_and_keys_hold_on_a_cluster(
    config: pgq.Config, aconn: psycopg.AsyncConnection, nodes: list[Server]
) -> None:
    config = replace(config, redis_url=url_of(nodes))
    shop = Shop(concurrency=3, rate_limit=pgq.Rate(15, per=1))
    shop.app.key_limit("customer", concurrency=1)
    shop.app.key_limit("host", rate=pgq.Rate(100, per=1))
    await shop.app.adeclare(aconn)
    for customer in "abcd":
        jobs = [{"name": customer, "seconds": 0.02} for _ in range(5)]
        await shop.work.options(limit_key=[f"customer:{customer}", "host:h"]).aenqueue_many(aconn, jobs)
    await shop.work.aenqueue_many(aconn, [{"name": "free", "seconds": 0.2} for _ in range(20)])
    async with serving(shop.app, config), serving(shop.app, config):
        await all_ended(aconn, 40, seconds=30)
    assert shop.peak == 3
    assert shop.fullest(1) <= 15


async def test_a_node_that_dies_holds_its_queue_up_until_it_is_back_and_lets_no_more_run(
    config: pgq.Config, aconn: psycopg.AsyncConnection, nodes: list[Server], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    config = replace(config, redis_url=url_of(nodes))
    shop = Shop(concurrency=2)
    await shop.app.adeclare(aconn)
    shop.gate.clear()
    await fill(shop, aconn, 10)
    slot = key_slot(queue_limit(config.limit_prefix, "q", Quota(slots=2)).born.encode())
    node = nodes[slot * len(nodes) // SLOTS]
    async with serving(shop.app, config), serving(shop.app, config):
        await shop.started(2)
        node.kill()
        await eventually(lambda: asyncio.sleep(0, "the limiter is away" in caplog.text))
        node.start()  # without memory
        await eventually(lambda: asyncio.sleep(0, "the limiter is back" in caplog.text), 30)
        assert (len(shop.starts), shop.running) == (2, 2)
        shop.gate.set()
        await all_ended(aconn, 10)
    assert shop.peak == 2


async def test_a_queue_goes_on_at_its_limit_where_a_replica_takes_over(
    config: pgq.Config, aconn: psycopg.AsyncConnection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    shop = Shop(concurrency=2)
    await shop.app.adeclare(aconn)
    shop.gate.clear()
    await fill(shop, aconn, 10)
    with watched(tmp_path) as pair:
        config = replace(config, redis_url=pair.url)
        async with serving(shop.app, config), serving(shop.app, config):
            await shop.started(2)
            pair.first.kill()
            await eventually(lambda: asyncio.sleep(0, "the limiter is back" in caplog.text), 30)
            assert (len(shop.starts), shop.running) == (2, 2)
            shop.gate.set()
            await all_ended(aconn, 10)
    assert shop.peak == 2


@pytest.mark.parametrize("policy", ["allkeys-lru", "noeviction"])
async def test_a_worker_warns_at_its_start_where_what_limits_rest_on_may_be_evicted(
    policy: str, config: pgq.Config, aconn: psycopg.AsyncConnection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(tmp_path, {"maxmemory": "64mb", "maxmemory-policy": policy}).start()
    shop = Shop(concurrency=2)
    await shop.app.adeclare(aconn)
    await fill(shop, aconn, 1)
    try:
        async with serving(shop.app, replace(config, redis_url=server.url)):
            await shop.started(1)
    finally:
        server.kill()
    warnings = [one.getMessage() for one in caplog.records if "evict" in one.getMessage()]
    assert [policy in warning for warning in warnings] == ([True] if policy != "noeviction" else [])
