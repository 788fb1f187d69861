"""A limiter that forgot everything is told what runs: of other workers only for as long as they count as alive."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from factory import make_queue, make_task, make_worker

import pgq
from pgq.gate import Gate, own_limit
from pgq.grants import Limit, key_limit
from pgq.keyring import Keyring
from pgq.limiter import acall, aconnect_redis
from pgq.memory import Memory
from pgq.queue import Settings
from pgq.quota import KeyLimit, Quota

SLOTS = Quota(slots=9)


@pytest.fixture
async def client(config: pgq.Config) -> AsyncIterator[Any]:
    client = aconnect_redis(config.redis_url)
    yield client
    await client.aclose()


@pytest.fixture
def leases(conn: psycopg.Connection) -> dict[float, str]:
    """Tasks that run, by the lease of their worker, who was heard of just now; one of a millisecond is over."""
    make_queue(conn, "q", concurrency=9)
    found = {}
    for seconds in (30.0, 8.0, 0.001):
        lease, worker = uuid.uuid4(), make_worker(conn, lease=seconds)
        task = make_task(conn, queue="q", status="processing", lease=lease, worker_id=worker, limit_keys=["k:a"])
        found[seconds] = f"{lease.hex}/{task}"
    return found


async def lasts(client: Any, limit: Limit, permit: str) -> float | None:
    """Return how many seconds a hold will last that nobody renews."""
    until = await client.zscore(limit.keys[1], permit)
    seconds, micros = await client.time()
    return None if until is None else until / 1e6 - seconds - micros / 1e6


async def test_a_queue_s_permits_are_held_until_their_worker_s_lease_ends(
    config: pgq.Config, client: Any, leases: dict[float, str]
) -> None:
    gate = Gate(own_limit(config.limit_prefix, Settings(name="q", concurrency=9)))
    await Memory(config, lambda verb: acall(client, verb), lambda: 0).restore_queue(gate, "q")
    left = [await lasts(client, gate.limit, name.partition("/")[0]) for name in leases.values()]
    assert left == [pytest.approx(30, abs=3), pytest.approx(8, abs=3), None]
    assert await client.exists(gate.limit.born) == 1


async def test_a_key_s_permits_are_held_until_their_worker_s_lease_ends(
    config: pgq.Config, client: Any, leases: dict[float, str]
) -> None:
    keyring = Keyring(config.limit_prefix, lambda: None)
    keyring.kinds = {"k": KeyLimit("k", SLOTS)}
    limit = key_limit(config.limit_prefix, "k:a", keyring.kinds["k"])
    await Memory(config, lambda verb: acall(client, verb), lambda: 0).restore_keys(keyring)
    left = [await lasts(client, limit, name) for name in leases.values()]
    assert left == [pytest.approx(30, abs=3), pytest.approx(8, abs=3), None]
    assert await client.exists(limit.born) == 1
