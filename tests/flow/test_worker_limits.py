"""Limits as workers keep them: across processes, in priority order, without punishing anybody else."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from time import monotonic
from typing import Any

import psycopg
import pytest
from serving import all_ended, burst, eventually, listening, serving, task_row, until_status

import pgq
from pgq.cli.settings import change, change_limit
from pgq.grants import queue_limit
from pgq.limit import look, standings
from pgq.limiter import acall, aconnect_redis
from pgq.quota import Quota

Starts = list[tuple[float, str]]


class Shop:
    """An app whose tasks note when they start and end, and run as long as the test lets them."""

    def __init__(self, **settings: Any) -> None:
        self.app = pgq.App()
        self.queue = self.app.queue("q", **settings)
        self.starts: Starts = []
        self.running = 0
        self.peak = 0
        self.gate = asyncio.Event()
        self.gate.set()

        @self.queue.task
        async def work(name: str, seconds: float = 0) -> None:
            self.starts.append((monotonic(), name))
            self.running += 1
            self.peak = max(self.peak, self.running)
            try:
                await self.gate.wait()
                await asyncio.sleep(seconds)
            finally:
                self.running -= 1

        self.work = work

    @property
    def names(self) -> list[str]:
        return [name for _, name in self.starts]

    async def started(self, count: int, seconds: float = 10) -> None:
        async def there() -> bool:
            return len(self.starts) >= count

        await eventually(there, seconds)

    def fullest(self, per: float) -> int:
        """Return the most starts in any window of this length."""
        times = sorted(at for at, _ in self.starts)
        return max(sum(begin <= at <= begin + per for at in times) for begin in times)


async def fill(shop: Shop, conn: psycopg.AsyncConnection, count: int, **options: Any) -> None:
    await shop.work.options(**options).aenqueue_many(conn, [{"name": f"n{i}"} for i in range(count)])


async def running_in_redis(config: pgq.Config, quota: Quota) -> int:
    client = aconnect_redis(config.redis_url)
    try:
        (standing,) = standings(await acall(client, look(3.0, [queue_limit(config.limit_prefix, "q", quota)])))
        return standing.running
    finally:
        await client.aclose()


async def test_a_rate_holds_over_all_workers(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    shop = Shop(rate_limit=pgq.Rate(8, per=0.5))
    await shop.app.adeclare(aconn)
    await fill(shop, aconn, 40)
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(serving(shop.app, config))
        await shop.started(40)
    assert shop.fullest(0.5) <= 8
    assert len(set(shop.names)) == len(shop.names) == 40


async def test_a_concurrency_holds_over_all_workers(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    shop = Shop(concurrency=3)
    await shop.app.adeclare(aconn)
    await shop.work.aenqueue_many(aconn, [{"name": f"n{i}", "seconds": 0.01} for i in range(40)])
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(serving(shop.app, config))
        await shop.started(40)
    assert shop.peak == 3


async def test_what_is_urgent_starts_at_the_next_free_slot(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    shop = Shop(concurrency=2)
    await shop.app.adeclare(aconn)
    await shop.work.options(priority=8).aenqueue_many(aconn, [{"name": "bulk", "seconds": 0.15}] * 50)
    async with serving(shop.app, config):
        await shop.started(4)
        await shop.work.options(priority=0).aenqueue(aconn, "urgent")
        before = len(shop.starts)
        await shop.started(before + 2)
    assert shop.names[before] == "urgent"


async def test_a_limited_queue_does_not_hold_up_another(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    shop = Shop(rate_limit=pgq.Rate(1, per=60))
    done: list[float] = []

    @shop.app.queue("free").task
    async def other() -> None:
        done.append(monotonic())

    await shop.app.adeclare(aconn)
    await fill(shop, aconn, 100)
    async with serving(shop.app, config):
        await shop.started(1)
        for _ in range(20):
            before, began = len(done), monotonic()
            await other.aenqueue(aconn)
            await eventually(lambda before=before: asyncio.sleep(0, len(done) > before))
            assert done[-1] - began < 1
    assert len(shop.starts) == 1


async def test_an_exhausted_key_delays_only_its_own_tasks(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    shop = Shop()
    shop.app.key_limit("customer", rate=pgq.Rate(1, per=30))
    await shop.app.adeclare(aconn)
    await fill(shop, aconn, 300, limit_key="customer:greedy")
    for name in ("a", "b"):
        await shop.work.options(limit_key=f"customer:{name}").aenqueue(aconn, name)
    await shop.work.aenqueue(aconn, "keyless")
    async with serving(shop.app, config):
        await shop.started(4)
    assert sorted(shop.names) == ["a", "b", "keyless", "n0"]
    rows = await (await aconn.execute(
        "select count(*), min(scheduled_at) > clock_timestamp(), max(attempts), max(bounces), min(throttled_by)"
        " from pgq.tasks where status = 'pending'"
    )).fetchall()  # fmt: skip
    assert rows == [(299, True, 0, 1, "customer:greedy")]
    said = await aconn.execute("select pgq.explain(max(id)) from pgq.tasks where limit_keys = '{customer:greedy}'")
    ((sentence,),) = await said.fetchall()
    assert sentence.startswith("throttled by customer:greedy until 2")


async def test_tasks_of_a_busy_key_spend_one_attempt_and_are_sent_back_a_few_times_at_most(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    shop = Shop()
    shop.app.key_limit("customer", rate=pgq.Rate(30, per=1))
    await shop.app.adeclare(aconn)
    await fill(shop, aconn, 100, limit_key="customer:busy")
    async with serving(shop.app, config), serving(shop.app, config):
        await all_ended(aconn, 100)
    assert shop.fullest(1) <= 30
    ((attempts, bounces),) = await (await aconn.execute("select max(attempts), max(bounces) from pgq.tasks")).fetchall()
    assert attempts == 1
    assert 1 <= bounces <= 4


async def test_the_slots_of_a_key_are_used_again_as_soon_as_they_are_free(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    """5 seconds of work, and half a minute where every turn is only guessed."""
    shop = Shop()
    shop.app.key_limit("customer", concurrency=2)
    await shop.app.adeclare(aconn)
    jobs = [{"name": f"n{number}", "seconds": 0.05} for number in range(200)]
    await shop.work.options(limit_key="customer:a").aenqueue_many(aconn, jobs)
    async with serving(shop.app, config):
        await shop.started(200, seconds=20)
    assert shop.peak == 2


async def test_a_task_runs_only_with_all_of_its_keys(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    shop = Shop()
    shop.app.key_limit("host", concurrency=1)
    shop.app.key_limit("customer", concurrency=1)
    await shop.app.adeclare(aconn)
    shop.gate.clear()
    await shop.work.options(limit_key="host:h").aenqueue(aconn, "first")
    async with serving(shop.app, config):
        await shop.started(1)
        both = await shop.work.options(limit_key=["host:h", "customer:c"]).aenqueue(aconn, "both")
        await eventually(lambda: was_bounced(aconn, both))
        await shop.work.options(limit_key="customer:c").aenqueue(aconn, "second")  # what "both" may not have kept
        await shop.started(2)
        assert shop.names == ["first", "second"]
        shop.gate.set()
        await shop.started(3, seconds=20)
    assert shop.names[2] == "both"


async def was_bounced(conn: psycopg.AsyncConnection, task_id: int) -> bool:
    return bool((await task_row(conn, task_id)).bounces)


async def test_a_weight_counts_as_so_many_starts(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    shop = Shop()
    shop.app.key_limit("api", rate=pgq.Rate(10, per=30))
    await shop.app.adeclare(aconn)
    await fill(shop, aconn, 5, limit_key="api:x", weight=4)
    async with serving(shop.app, config):
        await shop.started(2)
        await eventually(lambda: all_bounced(aconn, 3))
    assert shop.names == ["n0", "n1"]


async def all_bounced(conn: psycopg.AsyncConnection, count: int) -> bool:
    cursor = await conn.execute("select count(*) from pgq.tasks where status = 'pending' and bounces > 0")
    return await cursor.fetchall() == [(count,)]


async def test_a_weight_that_no_window_can_hold_is_a_dead_letter(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    shop = Shop()
    shop.app.key_limit("api", rate=pgq.Rate(10, per=1))
    await shop.app.adeclare(aconn)
    task_id = await shop.work.options(limit_key="api:x", weight=7).aenqueue(aconn, "heavy")
    await aconn.execute("update pgq.limits set rate_max = 5")
    async with serving(shop.app, config):
        row = await until_status(aconn, task_id, "dead")
    assert row.last_error == "its weight 7 is more than limit api:x ever allows, 5"


async def test_a_server_that_says_not_now_pauses_the_key(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    shop = Shop()
    shop.app.key_limit("host", concurrency=5)
    calls: list[str] = []

    @shop.queue.task
    async def fetch(name: str) -> None:
        calls.append(name)
        if len(calls) == 1:
            raise pgq.RateLimited(60)

    await shop.app.adeclare(aconn)
    first = await fetch.options(limit_key="host:busy").aenqueue(aconn, "first")
    async with serving(shop.app, config):
        await eventually(lambda: asyncio.sleep(0, len(calls) == 1))
        row = await until_status(aconn, first, "pending")
        second = await fetch.options(limit_key="host:busy").aenqueue(aconn, "second")
        await fetch.options(limit_key="host:other").aenqueue(aconn, "other")
        await eventually(lambda: asyncio.sleep(0, "other" in calls))
        await eventually(lambda: was_bounced(aconn, second))
    assert calls == ["first", "other"]
    assert (row.attempts, row.throttled_by) == (0, "host:busy")


async def test_without_keys_the_whole_queue_pauses(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    shop = Shop()
    calls: list[float] = []

    @shop.queue.task
    async def fetch() -> None:
        calls.append(monotonic())
        if len(calls) == 1:
            raise pgq.RateLimited(0.7)

    await shop.app.adeclare(aconn)
    await fetch.aenqueue(aconn)
    async with serving(shop.app, config):
        await eventually(lambda: asyncio.sleep(0, len(calls) == 1))
        await fetch.aenqueue_many(aconn, [{}] * 3)
        await eventually(lambda: asyncio.sleep(0, len(calls) == 5))
    assert calls[1] - calls[0] >= 0.7


async def test_a_queue_without_a_limit_pauses_in_every_worker(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    shop = Shop()
    calls: list[float] = []

    @shop.queue.task
    async def fetch() -> None:
        calls.append(monotonic())
        if len(calls) == 1:
            raise pgq.RateLimited(1.5)

    await shop.app.adeclare(aconn)
    async with serving(shop.app, config) as one, serving(shop.app, config) as other:
        await listening(one)
        await listening(other)
        await fetch.aenqueue(aconn)
        gates = [worker.board.lanes["q"].gate for worker in (one, other)]
        await eventually(lambda: asyncio.sleep(0, all(gate.closed(monotonic()) for gate in gates)))
        await fetch.aenqueue_many(aconn, [{}] * 3)
        await eventually(lambda: asyncio.sleep(0, len(calls) == 5))
    assert calls[1] - calls[0] >= 1.5


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
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    shop = Shop(concurrency=3)
    await shop.app.adeclare(aconn)
    shop.gate.clear()
    await fill(shop, aconn, 20)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(serving(shop.app, config))
        await shop.started(3)
        client = aconnect_redis(config.redis_url)
        await client.delete(*[key async for key in client.scan_iter(f"{config.limit_prefix}:*")])  # at once, as a flush
        await client.aclose()
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


@pytest.mark.parametrize("how", ["cancel", "fail", "retry", "dead", "snooze", "timeout"])
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
