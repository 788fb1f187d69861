"""pgqueuer through the desk: asyncpg, one QueueManager a process, batches of 500."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.qm import QueueManager
from pgqueuer.queries import Queries

from benchmarks.peers.programs import desk
from benchmarks.peers.programs.desk import Door, Order

BATCH = 500


@asynccontextmanager
async def queries(order: Order) -> AsyncIterator[Queries]:
    """Yield pgqueuer's queries on one asyncpg connection."""
    conn = await asyncpg.connect(order["url"])
    try:
        yield Queries(AsyncpgDriver(conn))
    finally:
        await conn.close()


async def install(order: Order) -> None:
    """Make the schema, durable as is the default."""
    async with queries(order) as made:
        await made.install()


async def noop(job: Job) -> None:
    """Do nothing but note it."""
    desk.note(json.loads(job.payload or b"{}")["i"])


async def work(order: Order, stop: asyncio.Event) -> None:
    """Run one QueueManager until told to stop."""
    async with queries(order) as made:
        manager = QueueManager(made)
        manager.entrypoint("noop")(noop)
        running = asyncio.ensure_future(manager.run(batch_size=BATCH, dequeue_timeout=timedelta(seconds=1)))
        await stop.wait()
        manager.shutdown.set()
        await running


@asynccontextmanager
async def door(order: Order) -> AsyncIterator[Door]:
    """Yield `Queries.enqueue`, which takes one task or lists."""
    async with queries(order) as made:

        async def single(i: int) -> None:
            await made.enqueue("noop", json.dumps({"i": i}).encode())

        async def bulk(numbers: Sequence[int]) -> None:
            payloads: list[bytes | None] = [json.dumps({"i": i}).encode() for i in numbers]
            await made.enqueue(["noop"] * len(payloads), payloads, [0] * len(payloads))

        yield Door(single, bulk)


if __name__ == "__main__":
    desk.Program(install, door, work).main()
