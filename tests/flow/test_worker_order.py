"""What runs first, how much runs at once, and when."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from pooler import HEARD, UNHEARD, WANTED
from serving import all_ended, burst, eventually, serving, until_status

import pgq


async def test_a_backlog_runs_by_priority_then_by_due_time(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    app = pgq.App()
    started: list[tuple[int, int]] = []

    @app.queue("q", concurrency=1).task
    async def note(priority: int, number: int) -> None:
        started.append((priority, number))

    await app.adeclare(aconn)
    for number in range(40):
        for priority in (8, 0, 5, 10):
            await note.options(priority=priority).aenqueue(aconn, priority, number)
    await burst(app, replace(config, concurrency=1))
    assert started == sorted(started)
    assert len(started) == 160


async def test_an_urgent_task_overtakes_a_backlog_even_if_its_transaction_took_a_while(
    config: pgq.Config, aconn: psycopg.AsyncConnection, dsn: str
) -> None:
    """It becomes visible below where a busy worker looks; the next look at everything, a quarter of a second later."""
    app = pgq.App()
    started: list[str] = []

    @app.queue("q").task
    async def note(name: str) -> None:
        started.append(name)
        await asyncio.sleep(0.02)

    async def so_many(count: int) -> bool:
        return len(started) >= count

    await app.adeclare(aconn)
    await note.aenqueue_many(aconn, [{"name": "usual"} for _ in range(300)])
    async with await psycopg.AsyncConnection.connect(dsn) as business, serving(app, replace(config, concurrency=1)):
        await eventually(lambda: so_many(5))
        await note.options(priority=0).aenqueue(business, "urgent")
        await eventually(lambda: so_many(40))  # far more than the cursor lags
        await business.commit()
        before = len(started)
        await eventually(lambda: asyncio.sleep(0, "urgent" in started))
    assert started.index("urgent") - before < 30


async def test_an_urgent_task_overtakes_a_backlog(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    app = pgq.App()
    started: list[str] = []
    gate, urgent_ran = asyncio.Event(), asyncio.Event()

    @app.queue("q").task
    async def newsletter() -> None:
        started.append("newsletter")
        await gate.wait()

    @app.queues["q"].task(priority=0)
    async def password_reset() -> None:
        started.append("password reset")
        urgent_ran.set()

    await app.adeclare(aconn)
    await newsletter.aenqueue_many(aconn, [{}] * 3_000)
    async with serving(app, config):
        await eventually(lambda: asyncio.sleep(0, len(started) == config.concurrency))
        await password_reset.aenqueue(aconn)
        gate.set()
        async with asyncio.timeout(5):
            await urgent_ran.wait()
        overtaken = 3_000 - started.index("password reset")
        await all_ended(aconn, 3_001)
    assert overtaken > 2_000  # only what was claimed ahead went first


@pytest.mark.parametrize("limit", [1, 3])
async def test_the_concurrency_of_a_queue_is_never_exceeded(
    limit: int, config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = pgq.App()
    running, most = Counter[str](), Counter[str]()

    async def run(queue: str) -> None:
        running[queue] += 1
        most[queue] = max(most[queue], running[queue])
        await asyncio.sleep(0.001)
        running[queue] -= 1

    for name in ("narrow", "wide"):
        app.queue(name, concurrency=limit if name == "narrow" else None).task(name=name)(run)
    await app.adeclare(aconn)
    for name in ("narrow", "wide"):
        await app.handlers[name].aenqueue_many(aconn, [{"queue": name}] * 150)
    async with serving(app, config):
        await all_ended(aconn, 300)
    assert most["narrow"] == limit
    assert limit < most["wide"] <= config.concurrency


@HEARD
async def test_a_slow_queue_does_not_delay_another(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    app = pgq.App()
    gate = asyncio.Event()

    @app.queue("slow", concurrency=3).task
    async def slow() -> None:
        await gate.wait()

    @app.queue("quick").task
    async def quick() -> None: ...

    await app.adeclare(aconn)
    await slow.aenqueue_many(aconn, [{}] * 500)
    async with serving(app, config):
        await eventually(lambda: running(aconn, "slow", 3))
        for _ in range(20):
            task_id = await quick.aenqueue(aconn)
            await until_status(aconn, task_id, "completed", seconds=0.3)
        gate.set()


async def running(aconn: psycopg.AsyncConnection, queue: str, count: int) -> bool:
    cursor = await aconn.execute("select count(*) from pgq.tasks where queue = %s and status = 'processing'", (queue,))
    return (count,) == await cursor.fetchone()


@pytest.mark.parametrize("delay", [0.4, 1.7, 2.6])
async def test_a_delayed_task_starts_when_it_is_due(
    delay: float, config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    """The worker sleeps for two seconds at a time; the task does not wait for that."""
    app = pgq.App()
    started = asyncio.get_running_loop().create_future()

    @app.queue("q").task
    async def work() -> None:
        started.set_result(datetime.now(UTC))

    await app.adeclare(aconn)
    async with serving(app, replace(config, poll=2.0)):
        await idle(aconn)
        task_id = await work.options(delay=delay).aenqueue(aconn)
        row = await until_status(aconn, task_id, "completed")
    late = (await started - row.scheduled_at).total_seconds()
    assert 0 <= late < 0.2
    assert (row.scheduled_at - row.created_at).total_seconds() == pytest.approx(delay, abs=0.01)


async def idle(aconn: psycopg.AsyncConnection) -> None:
    """Wait until a worker sleeps with the bell in its hand; skip the test where a pooler keeps it from that."""
    if WANTED:
        pytest.skip(UNHEARD)

    async def asleep() -> bool:
        cursor = await aconn.execute(
            "select count(*) from pg_locks where locktype = 'advisory' and granted and mode = 'ExclusiveLock'"
            " and database = (select oid from pg_database where datname = current_database())"
        )
        return await cursor.fetchone() == (1,)

    await eventually(asleep)


@pytest.mark.parametrize("after", [0.3, 2.3])
async def test_a_retry_starts_when_it_is_due(after: float, config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    app = pgq.App()
    started: list[datetime] = []

    @app.queue("q").task
    async def twice() -> pgq.Retry | None:
        started.append(datetime.now(UTC))
        return pgq.Retry(after) if len(started) == 1 else None

    await app.adeclare(aconn)
    async with serving(app, replace(config, poll=2.0)):
        await idle(aconn)
        task_id = await twice.aenqueue(aconn)
        row = await until_status(aconn, task_id, "completed")
    assert timedelta(0) <= started[1] - row.scheduled_at < timedelta(seconds=0.2)
    assert started[1] - started[0] >= timedelta(seconds=after)


async def test_an_idle_worker_starts_a_new_task_at_once(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    app = pgq.App()

    @app.queue("q").task
    async def work() -> None: ...

    await app.adeclare(aconn)
    waits = []
    async with serving(app, replace(config, poll=30)):
        for _ in range(30):
            await idle(aconn)
            task_id = await work.aenqueue(aconn)
            row = await until_status(aconn, task_id, "completed")
            waits.append((row.started_at - row.created_at).total_seconds())
    assert sorted(waits)[15] < 0.02
    assert max(waits) < 0.5
