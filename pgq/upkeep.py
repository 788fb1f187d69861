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
from pgq.redact import first_line
from pgq.steps import ClockSteps

log = logging.getLogger("pgq")

DAYS_AHEAD = 7
SEAL_AFTER = timedelta(minutes=10)  # past the end of a day, so that late commits find it open
BATCH = 1_000
AUDITED = 90  # days that the audit goes back
FULL_SCAN = 300.0  # seconds between two recoveries that ignore their cursor

Step = Callable[[psycopg.AsyncConnection], Awaitable[None]]


class ClockStepped(Exception):  # noqa: N818 - no error, a reason to do it again later
    """The database's clock was set while a recovery read leases off it."""


class Upkeep:
    """The periodic work of one process; it does each step whenever it is due and nobody else is at it."""

    def __init__(self, config: Config, watch_limits: Step) -> None:
        self._config = config
        self._floors: dict[str, datetime] = {}
        self._full_at = 0.0
        self._clock = ClockSteps()
        self._nobody_dies_until = 0.0
        self._connected_before = False
        self._steps: dict[str, tuple[float, Step]] = {
            "recover": (config.upkeep * 0.9, self.recover),
            "make partitions": (60.0, make_partitions),
            "seal partitions": (60.0, seal_partitions),
            "drop partitions": (5.0, drop_partitions),
            "sample queues": (config.upkeep * 0.9, sample_queues),
            "roll up": (config.upkeep * 1.9, roll_up),
            "prune": (600.0, prune),
            "watch limits": (config.upkeep * 0.9, watch_limits),
        }
        every = [every for every, _ in self._steps.values()]
        self._due = Call("upkeep_due", {"steps": list(self._steps), "every": every})

    async def work(self, conn: psycopg.AsyncConnection) -> None:
        """Do rounds of upkeep on this connection for ever. Raises psycopg.Error when it is lost."""
        if self._connected_before:
            # Postgres was away: heartbeats of the living are stale too. Let them come back before anybody is buried.
            await asyncio.sleep(self._config.lease)
        self._connected_before = True
        while True:
            await self._look_at_clock(conn)  # at every round: others may have had all the turns before a step
            for (name,) in await arun(conn, self._due):
                await self._do(conn, name, *self._steps[name])
            await asyncio.sleep(self._config.upkeep)

    async def _do(self, conn: psycopg.AsyncConnection, name: str, every: float, step: Step) -> None:
        """Do one step if it is due. Raises psycopg.Error only when the connection is lost, or may not write."""
        try:
            async with conn.transaction():
                await conn.execute("set local lock_timeout = '500ms'")
                await conn.execute("set local idle_in_transaction_session_timeout = '5s'")
                if await arun(conn, Call("upkeep_turn", {"step": name, "every": every})):
                    await step(conn)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected):
            log.debug("%s: somebody is in the way, trying again next time", name)
        except ClockStepped:
            log.debug("%s: rolled back, trying again next time", name)
        except psycopg.Error as error:
            if conn.closed or isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
                raise  # what a session may do is settled at its beginning: another one may be allowed to write
            log.warning("%s: %s", name, first_line(error))

    async def recover(self, conn: psycopg.AsyncConnection) -> None:
        """Give back tasks of dead workers and overdue ones, then forget the dead workers.

        After a step of the database's clock everybody first gets a lease's time to be heard of by the new one. Raises
        ClockStepped for one that comes in between.
        """
        if monotonic() < self._nobody_dies_until:
            return
        await self._recover(conn)
        if await self._look_at_clock(conn):
            raise ClockStepped

    async def _look_at_clock(self, conn: psycopg.AsyncConnection) -> bool:
        """Return whether the database's clock was set since the last look."""
        before = monotonic()
        ((now,),) = await arun(conn, Call("clock", {}))
        if not (step := self._clock.look(now, before, monotonic())):
            return False
        self._floors.clear()
        if step > 0:
            self._nobody_dies_until = monotonic() + self._config.lease
        return True

    async def _recover(self, conn: psycopg.AsyncConnection) -> None:
        await arun(conn, Call("bring_back_heartbeats", {}))
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
        rows = await arun(conn, recover_call(queue, floor, self._config.overdue, self._clock))
        for task_id, status, orphaned, _ in rows:
            reason = "its worker died" if orphaned else "overdue"
            about = {"task_id": task_id, "queue": queue}
            log.warning("task %s of queue %s: %s, now %s", task_id, queue, reason, status, extra=about)
        ((self._floors[queue],),) = await arun(conn, Call("oldest_processing", {"queue": queue, "floor": floor}))
        return len(rows) < BATCH


def recover_call(queue: str, floor: datetime, overdue: float, clock: ClockSteps) -> Call:
    """Return the statement that gives back lost tasks of one queue, processing since `floor` or later."""
    stepped = {"stepped_at": clock.before, "ahead": clock.ahead}
    return Call("recover", {"queue": queue, "floor": floor, "grace": overdue, "batch": BATCH, **stepped})


async def make_partitions(conn: psycopg.AsyncConnection) -> None:
    """Make the first of today and the days ahead that is missing: writers wait meanwhile, so one a turn.

    Where transactions that wrote are open for longer than a moment, it is tried again next time: there are days left.
    """
    today = datetime.now(UTC).date()
    with contextlib.suppress(psycopg.errors.LockNotAvailable):
        async with conn.transaction():
            await conn.execute("set local lock_timeout = '100ms'")
            for ahead in range(DAYS_AHEAD + 1):
                cursor = await conn.execute("select pgq.make_partition(%s)", (today + timedelta(days=ahead),))
                if (True,) in await cursor.fetchall():
                    return


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


async def sample_queues(conn: psycopg.AsyncConnection) -> None:
    """Count what waits and runs, for those who look and for the rates."""
    await arun(conn, Call("sample_queues", {}))


async def roll_up(conn: psycopg.AsyncConnection) -> None:
    """Merge what was appended to the counts and timings, and complete the minutes that are over."""
    for name in ("close_minutes", "roll_up", "merge_timings"):
        await arun(conn, Call(name, {}))


async def prune(conn: psycopg.AsyncConnection) -> None:
    """Coarsen old counts, and forget what nobody asks for any more."""
    await arun(conn, Call("prune_counts", {}))
    await arun(conn, Call("prune_depths", {}))
    await arun(conn, Call("prune_attempts", {"batch": BATCH}))
    await arun(conn, Call("prune_audit", {"days": AUDITED, "batch": 10 * BATCH}))
