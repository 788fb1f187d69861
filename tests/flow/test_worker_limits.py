"""Limits as workers keep them: across processes, in priority order, without punishing anybody else."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
import pytest
import worker_app
from limited_shop import Shop, fill, was_bounced
from serving import all_ended, eventually, serving, until_status

import pgq


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
        await all_ended(aconn, 100, seconds=30)
    assert shop.fullest(1) <= 30
    ((attempts, bounces),) = await (await aconn.execute("select max(attempts), max(bounces) from pgq.tasks")).fetchall()
    assert attempts == 1
    assert 1 <= bounces <= 7  # usually 2 or 3; each further one waits twice as long


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


@pytest.mark.parametrize(
    "handler",
    [worker_app.note_start_on_loop, worker_app.note_start_in_thread, worker_app.note_start],
    ids=["loop", "thread", "process"],
)
async def test_a_task_that_runs_for_long_keeps_its_place_in_a_window_for_no_longer_than_a_short_one(
    handler: Any, config: pgq.Config, aconn: psycopg.AsyncConnection, tmp_path: Path
) -> None:
    """The limiter lets a start go only when it has heard of it."""
    await worker_app.app.adeclare(aconn)
    await aconn.execute("update pgq.queues set rate_max = 1, rate_per = 0.5")
    path = tmp_path / "starts"
    arguments = {"path": str(path), "seconds": 20}

    async def both_run() -> bool:
        return path.exists() and len(path.read_text().splitlines()) == 2

    await handler.aenqueue_many(aconn, [arguments] * 2)
    async with serving(worker_app.app, replace(config, grace=0.1)):
        await eventually(both_run, 15)
    first, second = map(float, path.read_text().split())
    assert 0.5 <= second - first < 15


async def test_a_task_of_a_key_that_runs_for_long_keeps_its_place_no_longer_either(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    shop = Shop()
    shop.app.key_limit("api", rate=pgq.Rate(6, per=0.5))
    await shop.app.adeclare(aconn)
    shop.gate.clear()
    await fill(shop, aconn, 4, limit_key="api:x", weight=3)
    async with serving(shop.app, config):
        await shop.started(4)
        shop.gate.set()
    assert shop.fullest(0.5) == 2
