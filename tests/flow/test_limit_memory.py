"""What the limiter is told of what runs: when it knows nothing, and again and again while it lasts."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from factory import make_queue, make_task, make_worker
from limited_shop import Shop, fill, running_in_redis
from pooler import OWN_SESSION
from serving import all_ended, eventually, serving, sessions

import pgq
from pgq.gate import Gate, own_limit
from pgq.grants import Batch, Limit, Taken, key_limit
from pgq.keyring import Keyring
from pgq.lane import Board, Lane
from pgq.limit import hold, take
from pgq.limiter import acall, aconnect_redis
from pgq.limiter_loop import LimiterLoop
from pgq.memory import Memory
from pgq.queue import Settings
from pgq.quota import KeyLimit, Quota
from pgq.script import Verb
from pgq.task import Task

SLOTS = Quota(slots=9)
NOW = datetime(2030, 1, 1, tzinfo=UTC)


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


@pytest.mark.usefixtures("leases")
async def test_a_limiter_that_forgets_while_it_is_told_is_told_again(
    config: pgq.Config, client: Any, forget: Callable[[str], None]
) -> None:
    gate = Gate(own_limit(config.limit_prefix, Settings(name="q", concurrency=9)))
    keyring = Keyring(config.limit_prefix, lambda: None)
    keyring.kinds = {"k": KeyLimit("k", SLOTS)}
    places = [gate.limit, key_limit(config.limit_prefix, "k:a", keyring.kinds["k"])]

    async def say(verb: Verb) -> Any:
        reply = await acall(client, verb)
        if verb.name == "begin" and forgetful:
            forget(config.limit_prefix)
        return reply

    memory = Memory(config, say, lambda: 0)
    for forgetful in (True, False):
        told = [await memory.restore_queue(gate, "q"), await memory.restore_keys(keyring)]
        assert told == [not forgetful] * 2
        assert await client.exists(*(one.born for one in places)) == (0 if forgetful else 2)


async def test_a_limiter_that_knows_nothing_is_told_what_runs_before_a_task_has_to_wait_for_it(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    shop = Shop(concurrency=3)
    shop.app.key_limit("customer", concurrency=1)
    await shop.app.adeclare(aconn)
    await aconn.execute("select pgq.pause('q')")
    client = aconnect_redis(config.redis_url)
    async with serving(shop.app, config):
        born = [f"{config.limit_prefix}:{{{place}}}:born" for place in ("queue:q", "keys")]

        async def known() -> bool:
            return bool(await client.exists(*born) == 2)

        await eventually(known)
    await client.aclose()


async def test_a_renewal_that_comes_after_the_end_of_what_it_renews_keeps_no_slot(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    """Heartbeats say what is held from a thread of their own; a slot would be away for as long as a lease."""
    shop = Shop(concurrency=2)
    shop.app.key_limit("customer", concurrency=2)
    await shop.app.adeclare(aconn)
    shop.gate.clear()
    await fill(shop, aconn, 2, limit_key="customer:a")
    async with serving(shop.app, replace(config, lease=300, upkeep=300)) as worker:
        await shop.started(2)
        gate, keyring = worker.board.lanes["q"].gate, worker.permits.keyring
        gates, keys = [(gate, gate.held())], keyring.held()
        shop.gate.set()
        await all_ended(aconn, 2)
        await eventually(lambda: asyncio.sleep(0, not gate.batches and not keyring.over))
        for limit, permit in [*((gate.limit, permit) for permit in gates[0][1]), *keys]:
            await worker.permits.loop.say(hold(300, [(limit, permit)], limit.place, complete=False, units=False))
        assert await running_in_redis(config, Quota(slots=2)) == 2
        worker.permits.renewed(gates, keys)
        await fill(shop, aconn, 2, limit_key="customer:a")
        await shop.started(4)


@OWN_SESSION
async def test_a_claim_that_was_under_way_when_the_limiter_forgot_its_permits_starts_nothing_under_them(
    config: pgq.Config,
    aconn: psycopg.AsyncConnection,
    forget: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever tells the limiter what runs cannot know of it: Postgres does not either."""
    shop = Shop(concurrency=1)
    shop.gate.clear()
    await shop.app.adeclare(aconn)
    config = replace(config, lease=300, upkeep=300)
    async with serving(shop.app, config) as slow:
        lane = slow.board.lanes["q"]
        (backend,) = await sessions(aconn, "claim")
        take = lane.gate.grant

        def stop_and_take(taken: Taken, *when: float) -> None:
            os.kill(backend, signal.SIGSTOP)
            take(taken, *when)

        monkeypatch.setattr(lane.gate, "grant", stop_and_take)
        try:
            await fill(shop, aconn, 2)
            await eventually(lambda: asyncio.sleep(0, lane.gate.batches))
            forget(config.limit_prefix)
            async with serving(shop.app, config):
                await shop.started(1)
                monkeypatch.undo()
                os.kill(backend, signal.SIGCONT)
                await eventually(lambda: asyncio.sleep(0, slow.line.meters.claimed["q"]))
                await eventually(lambda: asyncio.sleep(0, not lane.buffer))  # started, or handed back
                shop.gate.set()
                await all_ended(aconn, 2)
        finally:
            os.kill(backend, signal.SIGCONT)
    assert shop.peak == 1


async def test_what_comes_into_a_buffer_while_its_permits_are_made_new_is_not_taken_for_new(
    config: pgq.Config, client: Any
) -> None:
    settings = Settings(name="q", concurrency=9)
    gate = Gate(own_limit(config.limit_prefix, settings))
    lane = Lane(settings, ["t"], gate, slots=9, batch=9)
    back: list[int] = []
    loop = LimiterLoop(config, Board([lane], 9), lambda: 1, lambda _lane, task, _outcome: back.append(task.id))
    first, late = (Batch(uuid.uuid4(), 1, 0.0, 1, 1, 0.05) for _ in range(2))
    gate.batches = {batch.lease: batch for batch in (first, late)}
    waits, comes = (
        Task("q", batch.lease, number, NOW, "t", 5, "{}", 1, 1, 1.0, 0, NOW)
        for number, batch in enumerate((first, late))
    )
    await acall(client, hold(30, [], gate.limit.place, complete=True, units=True))
    await acall(client, take(gate.limit, 30, first.lease.hex, 1))
    say = loop.say

    async def busy(verb: Verb) -> Any:
        if verb.name == "stamp" and len(lane.buffer) == 1:
            lane.buffer.append(comes)
        return await say(verb)

    loop.say = busy
    lane.buffer.append(waits)
    lane.stale = True
    working = asyncio.create_task(loop.work())
    await eventually(lambda: asyncio.sleep(0, not lane.stale))
    assert [task.id for task in lane.buffer] == [0, 1]
    assert not lane.ready
    await eventually(lambda: asyncio.sleep(0, not lane.stale))
    assert (back, [task.id for task in lane.buffer], lane.ready) == ([1], [0], True)
    working.cancel()
    await loop.close()
