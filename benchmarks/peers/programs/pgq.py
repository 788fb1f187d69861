"""pgq itself, through the same desk as its peers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import psycopg

import pgq
from benchmarks.peers.programs import desk
from benchmarks.peers.programs.desk import Door, Order
from pgq import migrate
from pgq.config import Config
from pgq.worker import Worker

CONCURRENCY = 50

app = pgq.App()
queue = app.queue("bench")


@queue.task
async def noop(i: int) -> None:
    """Do nothing but note it."""
    desk.note(i)


async def install(order: Order) -> None:
    """Make the schema and declare the queue."""
    with psycopg.connect(order["url"], autocommit=True) as conn:
        migrate.migrate(conn)
        app.declare(conn)


async def work(order: Order, stop: asyncio.Event) -> None:
    """Run one worker until told to stop."""
    worker = Worker(app, Config(dsn=order["url"], concurrency=CONCURRENCY))
    running = asyncio.ensure_future(worker.run())
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    worker.stop()
    await running


@asynccontextmanager
async def door(order: Order) -> AsyncIterator[Door]:
    """Yield the synchronous API on one psycopg connection."""
    with psycopg.connect(order["url"], autocommit=True) as conn:

        async def single(i: int) -> None:
            noop.enqueue(conn, i=i)

        async def bulk(numbers: Sequence[int]) -> None:
            noop.enqueue_many(conn, [{"i": i} for i in numbers])

        yield Door(single, bulk)


if __name__ == "__main__":
    desk.Program(install, door, work).main()
