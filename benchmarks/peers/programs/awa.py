"""awa through the desk: its Rust core from Python, up to 512 handlers at a time in a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from awa import AsyncClient

from benchmarks.peers.programs import desk
from benchmarks.peers.programs.desk import Door, Order

WORKERS = 512
QUEUE = "bench"


@dataclass
class Noop:
    """The arguments of the one kind of job."""

    i: int


async def install(order: Order) -> None:
    """Make the schema and choose its queue storage, which a fresh one would come to with its first worker."""
    async with AsyncClient(order["url"]) as client:
        await client.migrate()
        await client.install_queue_storage()


async def noop(job: Any) -> None:
    """Do nothing but note it."""
    desk.note(job.args.i)


async def work(order: Order, stop: asyncio.Event) -> None:
    """Run one client's workers until told to stop."""
    async with AsyncClient(order["url"], max_connections=20) as client:
        client.task(Noop, queue=QUEUE)(noop)
        await client.start([(QUEUE, WORKERS)])
        await stop.wait()
        await client.shutdown()


@asynccontextmanager
async def door(order: Order) -> AsyncIterator[Door]:
    """Yield insert, and COPY into the queue storage."""
    async with AsyncClient(order["url"]) as client:

        async def single(i: int) -> None:
            await client.insert(Noop(i), queue=QUEUE)

        async def bulk(numbers: Sequence[int]) -> None:
            await client.enqueue_many_copy([Noop(i) for i in numbers], queue=QUEUE)

        yield Door(single, bulk)


if __name__ == "__main__":
    desk.Program(install, door, work).main()
