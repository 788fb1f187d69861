"""An app under limits, and what tests ask of it."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

import psycopg
from serving import eventually, task_row

import pgq
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


async def was_bounced(conn: psycopg.AsyncConnection, task_id: int) -> bool:
    return bool((await task_row(conn, task_id)).bounces)
