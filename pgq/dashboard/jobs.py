"""Replays and purges of many dead letters: one at a time, in a thread, its progress published as the part `jobs`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

import psycopg

from pgq import letters
from pgq.connect import connect
from pgq.dashboard.hub import Hub
from pgq.dashboard.store import ROLE, sentence
from pgq.errors import PgqError

KEPT = 5  # jobs that are shown


@dataclass(frozen=True, slots=True)
class Job:
    """One of them, as far as it has come; `total` is what was counted before."""

    id: int
    action: str
    what: str
    actor: str
    total: int
    changed: int = 0
    refused: int = 0
    left: int = 0
    done: bool = False
    error: str = ""


class Busy(PgqError):  # noqa: N818 - reads as what happened
    """Another one is under way."""


class Jobs:
    """The jobs of this dashboard."""

    def __init__(self, dsn: str, hub: Hub) -> None:
        self._dsn = dsn
        self._hub = hub
        self._jobs: dict[int, Job] = {}
        self._running: asyncio.Task[None] | None = None
        self._stopping = False

    def replay(self, which: letters.Which, job: Job, rate: float | None, note: str) -> None:
        """Begin to start dead letters over. Raises Busy."""
        self._begin(job, lambda conn: letters.replay(conn, which, rate=rate, actor=job.actor, note=note))

    def purge(self, which: letters.Which, job: Job, note: str) -> None:
        """Begin to delete dead letters. Raises Busy."""
        self._begin(job, lambda conn: letters.purge(conn, which, actor=job.actor, note=note))

    async def stop(self) -> None:
        """Let what runs end after its batch: what it has done stays done."""
        self._stopping = True
        if self._running:
            await self._running

    def _begin(self, job: Job, start: Callable[[psycopg.Connection], Iterator[letters.Progress]]) -> None:
        if self._running and not self._running.done():
            raise Busy("Another replay or purge is under way: wait until it is done.")
        job = replace(job, id=len(self._jobs) + 1)
        self._tell(job)
        self._running = asyncio.create_task(self._work(job, start))

    async def _work(self, job: Job, start: Callable[[psycopg.Connection], Iterator[letters.Progress]]) -> None:
        loop = asyncio.get_running_loop()

        def work() -> Job:
            so_far = job
            with connect(self._dsn, ROLE) as conn:
                for step in start(conn):
                    so_far = replace(job, changed=step.changed, refused=len(step.refused), left=step.left)
                    loop.call_soon_threadsafe(self._tell, so_far)
                    if self._stopping:
                        return replace(so_far, error="Stopped with the dashboard; the rest is as it was.")
            return so_far

        try:
            ended = await asyncio.to_thread(work)
        except (psycopg.Error, OSError, PgqError) as error:
            ended = replace(self._jobs[job.id], error=sentence(error))
        self._tell(replace(ended, done=True))

    def _tell(self, job: Job) -> None:
        self._jobs[job.id] = job
        shown = [asdict(one) for one in list(self._jobs.values())[-KEPT:]]
        self._hub.publish("jobs", json.dumps(shown))
