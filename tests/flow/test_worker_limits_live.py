"""Limits while things change: pauses, new settings, flushes, ends of all kinds, workers that come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from time import monotonic
from typing import Any

import psycopg
import pytest
from limited_shop import Shop, fill, running_in_redis, was_bounced
from pooler import HEARD
from serving import all_ended, burst, eventually, listening, serving, task_row, until_status

import pgq
from pgq.cli.settings import change, change_limit
from pgq.quota import Quota
from pgq.script import Verb


def refused_once(shop: Shop, seconds: float) -> tuple[Any, list[tuple[str, float]]]:
    """Return a task whose first run is told "not now" for so long, and its runs: their names and moments."""
    calls: list[tuple[str, float]] = []

    @shop.queue.task
    async def fetch(name: str = "") -> None:
        calls.append((name, monotonic()))
        if len(calls) == 1:
            raise pgq.RateLimited(seconds)

    return fetch, calls


async def test_a_server_that_says_not_now_pauses_the_key(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    shop = Shop()
    shop.app.key_limit("host", concurrency=5)
    fetch, calls = refused_once(shop, 60)
    await shop.app.adeclare(aconn)
    first = await fetch.options(limit_key="host:busy").aenqueue(aconn, "first")
    async with serving(shop.app, config):
        await eventually(lambda: asyncio.sleep(0, len(calls) == 1))
        row = await until_status(aconn, first, "pending")
        second = await fetch.options(limit_key="host:busy").aenqueue(aconn, "second")
        await fetch.options(limit_key="host:other").aenqueue(aconn, "other")
        await eventually(lambda: asyncio.sleep(0, len(calls) == 2))
        await eventually(lambda: was_bounced(aconn, second))
    assert [name for name, _ in calls] == ["first", "other"]
    assert (row.attempts, row.throttled_by) == (0, "host:busy")


async def test_without_keys_the_whole_queue_pauses(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    shop = Shop()
    fetch, calls = refused_once(shop, 0.7)
    await shop.app.adeclare(aconn)
    await fetch.aenqueue(aconn)
    async with serving(shop.app, config):
        await eventually(lambda: asyncio.sleep(0, len(calls) == 1))
        await fetch.aenqueue_many(aconn, [{}] * 3)
        await eventually(lambda: asyncio.sleep(0, len(calls) == 5))
    assert calls[1][1] - calls[0][1] >= 0.7


async def test_a_queue_without_a_limit_pauses_in_every_worker(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    shop = Shop()
    fetch, calls = refused_once(shop, 3.0)
    await shop.app.adeclare(aconn)
    async with serving(shop.app, config) as one, serving(shop.app, config) as other:
        await listening(one)
        await listening(other)
        await fetch.aenqueue(aconn)
        gates = [worker.board.lanes["q"].gate for worker in (one, other)]
        await eventually(lambda: asyncio.sleep(0, all(gate.closed(monotonic()) for gate in gates)))
        await fetch.aenqueue_many(aconn, [{}] * 3)
        await eventually(lambda: asyncio.sleep(0, len(calls) == 5))
    assert calls[1][1] - calls[0][1] >= 3.0


async def test_a_changed_limit_reaches_running_workers(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    shop = Shop(concurrency=1)
    await shop.app.adeclare(aconn)
    shop.gate.clear()
    await fill(shop, aconn, 20)
    async with serving(shop.app, config):
        await shop.started(1)
        await aconn.execute("update pgq.queues set concurrency = 4")
        await shop.started(4, seconds=2)
        assert shop.running == 4
        shop.gate.set()
        await shop.started(20)
    assert shop.peak == 4


async def test_a_limit_changed_by_the_command_line_reaches_running_workers_within_a_second(
    config: pgq.Config, aconn: psycopg.AsyncConnection, conn: psycopg.Connection
) -> None:
    """Long before they would look again by themselves."""
    shop = Shop(concurrency=1, rate_limit=pgq.Rate(1, per=3600))
    shop.app.key_limit("customer", concurrency=1)
    await shop.app.adeclare(aconn)
    shop.gate.clear()
    await fill(shop, aconn, 20)
    async with serving(shop.app, replace(config, poll=60)) as worker:
        await listening(worker)
        await shop.started(1)
        change(conn, "q", {"concurrency": 4, "rate_max": 3})
        await shop.started(3, seconds=1)
        assert shop.running == 3
        change(conn, "q", {"rate_max": None, "rate_per": None})
        await shop.started(4, seconds=1)
        change_limit(conn, "customer", {"concurrency": 7})
        await eventually(lambda: asyncio.sleep(0, worker.permits.keyring.kinds["customer"].quota.slots == 7), 1)
        shop.gate.set()
        await shop.started(20)
    assert shop.peak == 4


async def test_a_queue_limited_while_it_runs_counts_what_runs(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    shop = Shop()
    await shop.app.adeclare(aconn)
    shop.gate.clear()
    await fill(shop, aconn, 6)
    async with serving(shop.app, config) as worker:
        await shop.started(6)
        await aconn.execute("update pgq.queues set concurrency = 2")
        await eventually(lambda: asyncio.sleep(0, worker.board.lanes["q"].settings.concurrency == 2))
        await fill(shop, aconn, 10)
        async with serving(shop.app, config) as other:
            await eventually(lambda: asyncio.sleep(0, other.board.lanes["q"].gate.short == "concurrency"))
            assert shop.running == 6
            shop.gate.set()
            await eventually(lambda: asyncio.sleep(0, shop.running <= 2))
            shop.peak = 0
            await shop.started(16)
    assert shop.peak <= 2


async def test_after_a_flush_of_redis_what_runs_still_counts(
    config: pgq.Config, aconn: psycopg.AsyncConnection, forget: Callable[[str], None]
) -> None:
    shop = Shop(concurrency=3)
    await shop.app.adeclare(aconn)
    shop.gate.clear()
    await fill(shop, aconn, 20)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(serving(shop.app, config))
        await shop.started(3)
        forget(config.limit_prefix)
        await eventually(lambda: running_is(config, Quota(slots=3), 3))
        assert shop.running == 3
        shop.gate.set()
        await shop.started(20)
    assert shop.peak == 3


async def running_is(config: pgq.Config, quota: Quota, count: int) -> bool:
    return await running_in_redis(config, quota) == count


async def test_nothing_is_held_after_the_end(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    shop = Shop(concurrency=4, rate_limit=pgq.Rate(1000, per=1))
    await shop.app.adeclare(aconn)
    await fill(shop, aconn, 50)
    async with serving(shop.app, config):
        await shop.started(50)
    assert await running_in_redis(config, Quota(1000, 1, 4)) == 0


@pytest.mark.parametrize("how", [pytest.param("cancel", marks=HEARD), "fail", "retry", "dead", "snooze", "timeout"])
async def test_however_a_task_ends_its_slots_are_free_at_once(
    how: str, config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    """Those of its queue and of its key, long before a lease or a look of upkeep would free them."""
    shop = Shop(concurrency=1, max_attempts=5, backoff=pgq.Fixed(60))
    shop.app.key_limit("customer", concurrency=1)
    began = asyncio.Event()
    outcomes = {"retry": pgq.Retry(after=60), "dead": pgq.Dead("no"), "snooze": pgq.Snooze(60)}

    @shop.queue.task(limit_key="customer:a")
    async def end() -> Any:
        began.set()
        if how == "fail":
            raise ValueError
        return outcomes[how] if how in outcomes else await asyncio.Event().wait()

    await shop.app.adeclare(aconn)
    first = await end.options(timeout=1 if how == "timeout" else 60).aenqueue(aconn)
    async with serving(shop.app, replace(config, lease=300, upkeep=300)):
        async with asyncio.timeout(10):
            await began.wait()
        if how == "cancel":
            await aconn.execute("select pgq.cancel(%s)", (first,))
        await shop.work.options(limit_key="customer:a").aenqueue(aconn, "next")
        await shop.started(1)


async def test_a_stopping_worker_gives_its_permits_to_the_others(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    shop = Shop(concurrency=2)
    await shop.app.adeclare(aconn)
    shop.gate.clear()
    await fill(shop, aconn, 4)
    async with serving(shop.app, replace(config, grace=0.2)):
        await shop.started(2)
    began = monotonic()
    shop.gate.set()
    async with serving(shop.app, config):
        await shop.started(6)
    assert monotonic() - began < config.lease


async def test_a_task_of_an_undeclared_kind_waits(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    shop = Shop()
    shop.app.key_limit("old", concurrency=1)
    await shop.app.adeclare(aconn)
    task_id = await shop.work.options(limit_key="old:x").aenqueue(aconn, "waits")
    await aconn.execute("delete from pgq.limits")
    del shop.app.key_limits["old"]
    async with serving(shop.app, config):

        async def put_off() -> bool:
            row = await task_row(aconn, task_id)
            return row.status == "pending" and row.scheduled_at > row.seen_at

        await eventually(put_off)
        await aconn.execute("insert into pgq.limits (name, concurrency) values ('old', 1)")
        await aconn.execute("select pgq.retry(%s)", (task_id,))
        await shop.started(1)
    assert (await task_row(aconn, task_id)).attempts == 1


@pytest.mark.parametrize("settings", [{"concurrency": 2}, {"rate_limit": pgq.Rate(1, per=1)}])
async def test_a_worker_without_redis_refuses_a_limited_queue(
    settings: dict[str, Any], config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    shop = Shop(**settings)
    await shop.app.adeclare(aconn)
    with pytest.raises(pgq.ConfigError, match="queue 'q' is limited, which needs Redis"):
        async with serving(shop.app, replace(config, redis_url="")):
            pass


async def test_a_worker_without_redis_refuses_limits_of_keys(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    shop = Shop()
    shop.app.key_limit("customer", concurrency=1)
    await shop.app.adeclare(aconn)
    with pytest.raises(pgq.ConfigError, match="limit 'customer' needs Redis"):
        async with serving(shop.app, replace(config, redis_url="")):
            pass


async def test_a_burst_waits_for_its_limit(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    shop = Shop(rate_limit=pgq.Rate(3, per=0.3))
    await shop.app.adeclare(aconn)
    await fill(shop, aconn, 9)
    await burst(shop.app, config)
    assert len(shop.starts) == 9


async def test_a_talk_with_the_limiter_that_fails_does_not_end_all_limits(
    config: pgq.Config,
    aconn: psycopg.AsyncConnection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shop = Shop(concurrency=1)
    await shop.app.adeclare(aconn)
    async with serving(shop.app, config) as worker:

        async def fail(_: Verb) -> None:
            monkeypatch.undo()
            raise KeyError("a defect")

        monkeypatch.setattr(worker.permits.loop, "say", fail)
        await fill(shop, aconn, 5)
        await all_ended(aconn, 5)
    assert shop.peak == 1
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [KeyError]
