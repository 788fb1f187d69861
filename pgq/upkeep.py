"""Upkeep: give back lost tasks, make, seal and drop days, roll counts up. Every worker offers, one at a time does it.

Each step is a transaction of its own that first takes its row in `pgq.upkeep`, so a pooler does not matter, a step
that fails stops no other, and no lock is waited for longer than half a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from time import monotonic

import psycopg

from pgq.config import Config
from pgq.cursor import BEGINNING
from pgq.db import Call, arun

log = logging.getLogger("pgq")

DAYS_AHEAD = 7
SEAL_AFTER = timedelta(minutes=10)  # past the end of a day, so that late commits find it open
BATCH = 1_000
FULL_SCAN = 300.0  # seconds between two recoveries that ignore their cursor

Step = Callable[[psycopg.AsyncConnection], Awaitable[None]]


class Upkeep:
    """The periodic work of one process; it does each step whenever it is due and nobody else is at it."""

    def __init__(self, config: Config, watch_limits: Step) -> None:
        self._config = config
        self._floors: dict[str, datetime] = {}
        self._full_at = 0.0
        self._connected_before = False
        self._steps: dict[str, tuple[float, Step]] = {
            "recover": (config.upkeep * 0.9, self.recover),
            "make partitions": (60.0, make_partitions),
            "seal partitions": (60.0, seal_partitions),
            "drop partitions": (5.0, drop_partitions),
            "roll up": (60.0, roll_up),
            "watch limits": (config.upkeep * 0.9, watch_limits),
        }

    async def work(self, conn: psycopg.AsyncConnection) -> None:
        """Do rounds of upkeep on this connection for ever. Raises psycopg.Error when it is lost."""
        if self._connected_before:
            # Postgres was away: heartbeats of the living are stale too. Let them come back before anybody is buried.
            await asyncio.sleep(self._config.lease)
        self._connected_before = True
        while True:
            for name, (every, step) in self._steps.items():
                await self._do(conn, name, every, step)
            await asyncio.sleep(self._config.upkeep)

    async def _do(self, conn: psycopg.AsyncConnection, name: str, every: float, step: Step) -> None:
        """Do one step if it is due. Raises psycopg.Error only when the connection is lost."""
        try:
            async with conn.transaction():
                await conn.execute("set local lock_timeout = '500ms'")
                await conn.execute("set local idle_in_transaction_session_timeout = '5s'")
                if await arun(conn, Call("upkeep_turn", {"step": name, "every": every})):
                    await step(conn)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected):
            log.debug("%s: somebody is in the way, trying again next time", name)
        except psycopg.Error as error:
            if conn.closed:
                raise
            log.warning("%s: %s", name, str(error).splitlines()[0])

    async def recover(self, conn: psycopg.AsyncConnection) -> None:
        """Give back tasks of dead workers and overdue ones, then forget the dead workers."""
        if monotonic() >= self._full_at:
            self._floors.clear()
            self._full_at = monotonic() + FULL_SCAN
        complete = True
        for (queue,) in await arun(conn, Call("queue_names", {})):
            complete &= await self._recover_queue(conn, queue)
        if complete:
            for worker_id, name in await arun(conn, Call("prune_workers", {})):
                log.warning("worker %s (%s) is dead; its tasks were given back", worker_id, name)

    async def _recover_queue(self, conn: psycopg.AsyncConnection, queue: str) -> bool:
        floor = self._floors.get(queue, BEGINNING)
        rows = await arun(conn, recover_call(queue, floor, self._config.overdue))
        for task_id, status, orphaned, _ in rows:
            reason = "its worker died" if orphaned else "overdue"
            log.warning("task %s of queue %s: %s, now %s", task_id, queue, reason, status)
        ((self._floors[queue],),) = await arun(conn, Call("oldest_processing", {"queue": queue, "floor": floor}))
        return len(rows) < BATCH


def recover_call(queue: str, floor: datetime, overdue: float) -> Call:
    """Return the statement that gives back lost tasks of one queue, processing since `floor` or later."""
    return Call("recover", {"queue": queue, "floor": floor, "grace": overdue, "batch": BATCH})


async def make_partitions(conn: psycopg.AsyncConnection) -> None:
    """Make the partitions of today and the days ahead."""
    today = datetime.now(UTC).date()
    for ahead in range(DAYS_AHEAD + 1):
        await conn.execute("select pgq.make_partition(%s)", (today + timedelta(days=ahead),))


async def seal_partitions(conn: psycopg.AsyncConnection) -> None:
    """Seal past days that hold nothing pending or processing; one that is in use is tried again next time."""
    cursor = await conn.execute(
        "select name from pgq.partitions where sealed_at is null and ends_at < %s order by starts_at",
        (datetime.now(UTC) - SEAL_AFTER,),
    )
    for (name,) in await cursor.fetchall():
        with contextlib.suppress(psycopg.errors.LockNotAvailable):
            async with conn.transaction():
                await conn.execute("select pgq.seal_partition(%s)", (name,))


async def drop_partitions(conn: psycopg.AsyncConnection) -> None:
    """Drop the oldest sealed day that is past the longest retention of all queues, once it holds nothing to keep."""
    cursor = await conn.execute(
        "select name from pgq.partitions where sealed_at < clock_timestamp()"
        " - (select coalesce(max(retention), 604800) from pgq.queues) * interval '1 second'"
        " order by starts_at limit 1",
    )
    for (name,) in await cursor.fetchall():
        moved = await conn.execute("select pgq.carry_forward(%s, %s)", (name, BATCH))
        if (0,) in await moved.fetchall():
            await conn.execute("select pgq.drop_partition(%s)", (name,))


async def roll_up(conn: psycopg.AsyncConnection) -> None:
    """Merge the counts of past minutes."""
    await arun(conn, Call("roll_up", {}))
