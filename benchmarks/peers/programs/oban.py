"""oban-py through the desk: psycopg pool, up to 500 tasks at a time in a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from oban import Oban, worker
from oban.schema import install as install_schema

from benchmarks.peers.programs import desk
from benchmarks.peers.programs.desk import Door, Order

LIMIT = 500


class Noop:
    """Do nothing but note it."""

    async def process(self, job: Any) -> None:
        """Note the number."""
        desk.note(job.args["i"])


noop: Any = worker(queue="bench")(Noop)


@asynccontextmanager
async def pool(order: Order) -> AsyncIterator[Any]:
    """Yield oban's own kind of pool."""
    made = await Oban.create_pool(order["url"], min_size=1, max_size=20)
    try:
        yield made
    finally:
        await made.close()


async def install(order: Order) -> None:
    """Make the schema."""
    async with pool(order) as made:
        await install_schema(made)


async def work(order: Order, stop: asyncio.Event) -> None:
    """Run one instance until told to stop."""
    async with pool(order) as made, Oban(pool=made, queues={"bench": LIMIT}):
        await stop.wait()


@asynccontextmanager
async def door(order: Order) -> AsyncIterator[Door]:
    """Yield enqueue and enqueue_many of an instance without queues."""
    async with pool(order) as made, Oban(pool=made) as client:

        async def single(i: int) -> None:
            await client.enqueue(noop.new({"i": i}))

        async def bulk(numbers: Sequence[int]) -> None:
            await client.enqueue_many([noop.new({"i": i}) for i in numbers])

        yield Door(single, bulk)


if __name__ == "__main__":
    desk.Program(install, door, work).main()
