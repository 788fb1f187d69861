"""procrastinate through the desk: psycopg, ten tasks at a time in a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import procrastinate

from benchmarks.peers.programs import desk
from benchmarks.peers.programs.desk import Door, Order

CONCURRENCY = 10


@asynccontextmanager
async def opened(order: Order) -> AsyncIterator[tuple[procrastinate.App, procrastinate.tasks.Task]]:
    """Yield an app with its pool open, and its task."""
    connector = procrastinate.PsycopgConnector(conninfo=order["url"], min_size=1, max_size=CONCURRENCY + 4)
    app = procrastinate.App(connector=connector)

    async def noop(i: int) -> None:
        desk.note(i)

    task = app.task(name="noop")(noop)
    async with app.open_async():
        yield app, task


async def install(order: Order) -> None:
    """Make the schema."""
    async with opened(order) as (app, _):
        await app.schema_manager.apply_schema_async()


async def work(order: Order, stop: asyncio.Event) -> None:
    """Run one worker until told to stop."""
    async with opened(order) as (app, _):
        running = asyncio.ensure_future(
            app.run_worker_async(concurrency=CONCURRENCY, install_signal_handlers=False, delete_jobs="never")
        )
        await stop.wait()
        running.cancel()  # as its documentation stops a worker that has no signal handlers
        await asyncio.wait({running})


@asynccontextmanager
async def door(order: Order) -> AsyncIterator[Door]:
    """Yield defer and batch defer."""
    async with opened(order) as (_, task):

        async def single(i: int) -> None:
            await task.defer_async(i=i)

        async def bulk(numbers: Sequence[int]) -> None:
            await task.batch_defer_async(*({"i": i} for i in numbers))

        yield Door(single, bulk)


if __name__ == "__main__":
    desk.Program(install, door, work).main()
