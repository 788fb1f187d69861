"""Parking: when a key is exhausted and a crowd of its tasks stands at the head of a queue, send them away in bulk.

Why: a denied task costs a claim, a request and a settle. Ten thousand of them in front of the tasks of other keys
would hold those up for seconds. One statement sends thousands back to the moments at which their turn should come.
It is a shortcut only: whatever it misses is denied one by one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from time import monotonic
from typing import Any

import psycopg

from pgq.config import Config
from pgq.connect import aconnect
from pgq.cursor import PRIORITIES
from pgq.db import Call, arun
from pgq.grants import Answer, Limit
from pgq.keyring import Bearer
from pgq.lane import Board
from pgq.limit import queue_up
from pgq.limiter import RedisError
from pgq.quota import MICROSECONDS
from pgq.redact import first_line
from pgq.script import Verb

log = logging.getLogger("pgq")

CROWD = 5  # tasks of one key denied in one request: there are more where they came from
AT_ONCE = 5_000  # rows of one statement
LONGEST = 1.0  # seconds that claims stand still for one statement
REACH = 20_000  # due tasks of one priority, of any key, among which one statement looks
Crowd = tuple[str, Limit]


class Parker:
    """Parks one crowd at a time, on a connection that lives as long as there is something to park."""

    def __init__(self, config: Config, board: Board, say: Callable[[Verb], Awaitable[Any]]) -> None:
        self._config = config
        self._board = board
        self._say = say
        self._crowds: dict[Crowd, float] = {}  # how far apart they may come back
        self._work: asyncio.Task[None] | None = None

    def denied(self, answers: Iterable[tuple[Bearer, Answer]]) -> None:
        """Look at the answers of one request for a crowd."""
        waits: dict[Crowd, list[float]] = defaultdict(list)
        for bearer, answer in answers:
            if answer.limit is not None and answer.wait is not None and not bearer.task.bounces:
                waits[bearer.task.queue, answer.limit].append(answer.wait)
        for crowd, told in waits.items():
            if len(told) >= CROWD:
                self._crowds[crowd] = max((max(told) - min(told)) / (len(told) - 1), 0.001)
        if self._crowds and (self._work is None or self._work.done()):
            self._work = asyncio.create_task(self._park_all())

    async def close(self) -> None:
        """Stop parking."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)

    async def _park_all(self) -> None:
        skipping: set[str] = set()
        try:
            async with await aconnect(self._config.dsn, "park") as conn:
                while self._crowds:
                    crowd, step = self._crowds.popitem()
                    gate, until = self._board.lanes[crowd[0]].gate, monotonic() + LONGEST
                    if crowd[0] not in skipping:  # nothing is claimed meanwhile, only to be denied
                        gate.close(until)
                    if await self._park(conn, crowd, step) >= AT_ONCE:
                        self._crowds[crowd] = step  # there are more
                        await self._skip(conn, crowd, skipping)
                    gate.reopen(until)
                    self._board.hungry.set()
        except (psycopg.Error, RedisError, OSError) as error:
            log.warning("tasks of an exhausted key stay at the head of their queue: %s", first_line(error))
            self._crowds.clear()
        finally:
            for queue in skipping:
                lane = self._board.lanes[queue]
                lane.cursor.reset()
                lane.drained = False
            self._board.hungry.set()

    async def _skip(self, conn: psycopg.AsyncConnection, crowd: Crowd, skipping: set[str]) -> None:
        """Let claims look behind the crowd from now on: what stands there already need not wait for its parking."""
        queue, limit = crowd
        if queue not in skipping:
            skipping.add(queue)
            values = {"queue": queue, "key": limit.name, "priorities": PRIORITIES, "reach": REACH}
            rows = await arun(conn, Call("crowd", values))
            self._board.lanes[queue].cursor.skip({priority: end for priority, end in rows if end is not None})

    async def _park(self, conn: psycopg.AsyncConnection, crowd: Crowd, step: float) -> int:
        """Send some of a crowd away, behind all that were sent before; returns how many."""
        queue, limit = crowd
        behind = await self._say(queue_up(limit, self._config.lease, []))
        values = {"queue": queue, "key": limit.name, "priorities": PRIORITIES, "count": AT_ONCE, "reach": REACH}
        rows = await arun(conn, Call("park", {**values, "first": behind / MICROSECONDS, "step": step}))
        tails = [(priority, last) for priority, _, last in rows if last is not None]
        if tails:
            await self._say(queue_up(limit, self._config.lease, tails))
        parked: int = sum(count for _, count, _ in rows)
        if parked:
            log.info("limit %s is exhausted: %d tasks of queue %s sent back for now", limit.name, parked, queue)
        return parked
