"""Limits on a cluster of three nodes, and on a server whose place another takes when it dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from desk import TTL, Desk, granted
from redis.crc import key_slot
from valkeys import Pair, Server, clustered, eventually, url_of, watched

from pgq import grants, limit
from pgq.grants import Request, Taken
from pgq.limiter import RedisError, acall, aconnect_redis, call, connect_redis, hazard
from pgq.quota import Quota


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a cluster of three nodes."""
    with clustered(tmp_path_factory.mktemp("cluster"), 3) as nodes:
        yield url_of(nodes)


@pytest.fixture
def at_cluster(cluster: str) -> Iterator[Desk]:
    """A desk there."""
    client = connect_redis(cluster)
    client.flushall(target_nodes="primaries")
    yield Desk(client, "pgq")
    client.close()


def test_queue_limits_lie_in_many_slots_and_all_keys_of_one_call_in_one(at_cluster: Desk) -> None:
    queues = [grants.queue_limit("pgq", f"q{number}", Quota(1)) for number in range(50)]
    slots = [{key_slot(key.encode()) for key in (*queue.keys, queue.born)} for queue in queues]
    assert all(len(found) == 1 for found in slots)
    assert len(set.union(*slots)) > 40
    keys = [at_cluster.key(key, 1, per=1.0) for key in ("a", "b", "{c}", "{keys}", "d}{e")]
    verb = limit.acquire("pgq", TTL, [Request("p", tuple(keys))])
    assert len({key_slot(key.encode()) for key in verb.keys}) == 1


def test_every_verb_works_on_a_cluster(at_cluster: Desk) -> None:
    at_cluster.remember()
    for number in range(20):
        queue = replace(at_cluster.queue(), place=f"pgq:{{queue:q{number}}}", quota=Quota(9, 60.0, 3))
        at_cluster.hold((queue, ("x", 1, 1)), complete=True, units=True)
        assert at_cluster.take(queue, "a", 3) == Taken(2, None, "concurrency")
        assert at_cluster.stamp(queue, "a") == [1]
        at_cluster.report((queue, ("a", 1, 0)))
        assert at_cluster.sums(queue) == (2, 1)
        assert at_cluster.pause(1.0, queue) == 1.0
    keys = [at_cluster.key(str(number), slots=1) for number in range(9)]
    assert granted(at_cluster.acquire(Request("a", tuple(keys[:8])), Request("b", tuple(keys[7:])))) == [True, False]


def test_scripts_flushed_on_every_node_are_no_error(at_cluster: Desk) -> None:
    for number in range(20):
        at_cluster.client.script_flush()
        queue = grants.queue_limit("pgq", f"q{number}", Quota(3, 60.0))
        at_cluster.hold((queue, ("x", 1, 1)), complete=True, units=True)
        assert at_cluster.take(queue, "a", 3).granted == 2


async def test_an_async_client_shares_the_limits_and_sees_every_node_s_hazards(cluster: str, at_cluster: Desk) -> None:
    queue = at_cluster.queue(3, per=60.0)
    call(at_cluster.client, limit.take(queue, TTL, "a", 2))
    client = aconnect_redis(cluster)
    try:
        assert limit.taken(await acall(client, limit.take(queue, TTL, "b", 2))).granted == 1
        assert await hazard(client) is None
        node = at_cluster.client.get_primaries()[-1]
        at_cluster.client.config_set("maxmemory", "64mb", target_nodes=node)
        at_cluster.client.config_set("maxmemory-policy", "allkeys-lfu", target_nodes=node)
        assert "allkeys-lfu" in (await hazard(client) or "")
    finally:
        at_cluster.client.config_set("maxmemory", "0", target_nodes="primaries")
        await client.aclose()


async def test_a_cluster_that_is_away_is_away_like_any_server() -> None:
    client = aconnect_redis("redis+cluster://127.0.0.1:1")
    for ask in (acall(client, limit.look(TTL, [])), hazard(client)):
        with pytest.raises(RedisError):
            await ask
    await client.aclose()


# — Sentinel —


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """A server and its replica."""
    with watched(tmp_path) as pair:
        yield pair


def test_limits_go_on_where_a_replica_takes_over(pair: Pair) -> None:
    first, second, client = pair.first, pair.second, connect_redis(pair.url)
    desk = Desk(client, "pgq")
    queue = desk.queue(5, per=3600.0)
    desk.take(queue, "a", 3)
    with first.client() as plain:
        desk.report((queue, ("a", 3, 3)))
        eventually(lambda: _offset(first) == _offset(second))
        plain.close()
    first.kill()
    found = eventually(lambda: _try(desk, queue))
    assert found == Taken(2, found.wait, "rate")
    assert desk.take(queue, "b", 5).granted == 2
    client.close()


def _offset(server: Server) -> int:
    with server.client() as client:
        found = client.info("replication")
        return int(found["master_repl_offset"] if found["role"] == "master" else found["slave_repl_offset"])


def _try(desk: Desk, queue: grants.Limit) -> Taken | None:
    with suppress(RedisError):
        return desk.take(queue, "b", 5)
    return None
