"""Every option of an enqueue with every hostile value, over several drivers: refused, or a task that a worker ends."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psycopg
import pytest
from doors import DOORS, done
from hostile_values import ALL
from serving import burst

import pgq
from pgq.errors import PgqError

OPTIONS = [
    "priority", "delay", "scheduled_at", "max_attempts", "timeout", "unique_key", "on_conflict", "limit_key", "weight",
]  # fmt: skip
DRIVERS = ["psycopg", "psycopg2", "asyncpg", "Session over psycopg2"]


@pytest.mark.parametrize("driver", DRIVERS)
async def test_an_option_is_refused_or_its_task_ends(
    driver: str, config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = pgq.App()
    app.key_limit("a", concurrency=1000)
    queue = app.queue("q")

    @queue.task
    async def fine(value: Any = None) -> None: ...

    await app.adeclare(aconn)
    added = []
    async with DOORS[driver](config.dsn) as door:
        for option in OPTIONS:
            for value in ALL:
                with suppress(PgqError):  # whatever else is raised fails this test
                    options = {option: value} | ({"unique_key": "k"} if option == "on_conflict" else {})
                    handler = fine.options(**options)
                    async with door.savepoint():
                        added.append(await door.enqueue(handler))
        await done(door.commit())
    assert len(added) > 40
    await aconn.execute("update pgq.tasks set scheduled_at = clock_timestamp()")  # also those of the far future
    await burst(app, config)
    left = await (await aconn.execute("select status, count(*) from pgq.tasks group by 1")).fetchall()
    assert left == [("completed", len({task_id for task_id in added if task_id is not None}))]
