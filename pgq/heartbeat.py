"""The heartbeat: a thread with its own connection, so that a handler that blocks the loop does not look dead.

One row per process, never a write per task. Every beat also looks at tasks that have been running for a while: were
they asked to stop, are they still ours?
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from time import monotonic

import psycopg

from pgq.connect import connect, is_direct, untimed
from pgq.db import Call, run
from pgq.redact import first_line
from pgq.task import Task

log = logging.getLogger("pgq")


@dataclass(frozen=True, slots=True)
class Beat:
    """What to say: who, how many run, whether the process is stopping, and which tasks to look at."""

    worker_id: int
    running: int
    stopping: bool
    old: Sequence[Task]


@dataclass(frozen=True, slots=True)
class Pulse:
    """What came back: whether the others still count this worker in, and which tasks to stop, and why.

    `worker_id` is who was asked for; `asked_at` is a moment of the monotonic clock, before they were asked.
    """

    worker_id: int
    asked_at: float
    alive: bool
    cancelled: frozenset[int]
    lost: Sequence[Task]


class Heartbeat(threading.Thread):
    """Beats every `interval` seconds until stopped; `said` gives the beat, `heard` takes the pulse.

    While the others count this worker in, `renew` renews what it holds elsewhere.
    """

    def __init__(
        self,
        dsn: str,
        interval: float,
        said: Callable[[], Beat],
        heard: Callable[[Pulse], None],
        renew: Callable[[], None],
    ) -> None:
        super().__init__(name="pgq-heartbeat", daemon=True)
        self._dsn = dsn
        self._interval = interval
        self._said = said
        self._heard = heard
        self._renew = renew
        self._done = threading.Event()
        self._conn: psycopg.Connection | None = None

    def stop(self) -> None:
        """End after the current beat."""
        self._done.set()

    def run(self) -> None:
        """Beat; after a failure, reconnect at the next beat or within a second, whichever comes first."""
        pause = self._interval
        while not self._done.wait(pause):
            try:
                self._beat()
                pause = self._interval
            except (psycopg.Error, OSError) as error:
                log.warning("heartbeat failed, trying again: %s", first_line(error))
                pause = self._hang_up()
            except Exception:
                log.exception("heartbeat failed, trying again")
                pause = self._hang_up()
        self._hang_up()

    def _beat(self) -> None:
        if self._conn is None:
            self._conn = connect(self._dsn, "heartbeat")
            if is_direct(self._conn):
                self._conn.execute(untimed(self._conn))
        pulse = beat(self._conn, self._said())
        self._heard(pulse)
        if pulse.alive:
            self._renew()

    def _hang_up(self) -> float:
        """Close the connection and return how long to wait for the next."""
        if self._conn is not None:
            self._conn.close()
            self._conn = None
        return min(1.0, self._interval)


def beat(conn: psycopg.Connection, said: Beat) -> Pulse:
    """Send one heartbeat and return the pulse. Raises psycopg.Error."""
    values = {"id": said.worker_id, "running": said.running, "stopping": said.stopping}
    asked_at = monotonic()
    alive = bool(run(conn, Call("heartbeat", values)))
    cancelled: set[int] = set()
    ours: set[int] = set()
    old = sorted(said.old, key=attrgetter("queue"))
    for queue, group in groupby(old, key=attrgetter("queue")):
        tasks = list(group)
        keys = {
            "ids": [task.id for task in tasks],
            "scheduled": [task.scheduled_at for task in tasks],
            "leases": [task.lease for task in tasks],
        }
        for task_id, cancel_requested in run(conn, Call("glance", {"queue": queue, **keys})):
            ours.add(task_id)
            if cancel_requested:
                cancelled.add(task_id)
    return Pulse(said.worker_id, asked_at, alive, frozenset(cancelled), [task for task in old if task.id not in ours])
