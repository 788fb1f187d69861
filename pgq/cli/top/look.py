"""What the live view sees of the database, in one look; and a thread that looks again and again."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import monotonic

import psycopg

from pgq.cli.rows import StatsRow, WorkerRow, fetch
from pgq.connect import connect
from pgq.db import Call, run
from pgq.errors import PgqError
from pgq.redact import first_line, without_passwords

MOST = 200  # tasks in a list
SLOWEST = "5s"  # of one statement: a view that hangs helps nobody
HEALTH_EVERY = 5.0  # seconds

Deed = Callable[[psycopg.Connection], str]


@dataclass(frozen=True, slots=True)
class Job:
    """A task in the list: for how long (seconds) it has been running or dead, and by whom or why."""

    id: int
    queue: str
    task: str
    attempts: int
    age: float
    about: str | None


@dataclass(frozen=True, slots=True)
class Sight:
    """One look."""

    at: float  # of the monotonic clock
    queues: list[StatsRow]
    totals: dict[str, int]  # tasks and attempts that ever ended, by queue
    workers: list[WorkerRow]
    running: list[Job]
    dead: list[Job]
    needs: dict[str, int]  # slots that each queue needs, so that what is due drains within a minute
    health: list[tuple[str, str, str]] = field(default_factory=list)  # name, status, message of what is not ok


@dataclass(frozen=True, slots=True)
class News:
    """What the looking thread has to say: a look, why there is none, or what became of a deed."""

    sight: Sight | None = None
    trouble: str = ""
    said: str = ""


def look(conn: psycopg.Connection, health: list[tuple[str, str, str]]) -> Sight:
    """Return what there is to see. Raises psycopg.Error."""
    totals = {row[0]: sum(row[1:]) for row in run(conn, Call("metric_totals", {}))}
    return Sight(
        monotonic(),
        fetch(conn, StatsRow, "list_stats", {"queue": None}),
        totals,
        fetch(conn, WorkerRow, "list_workers", {"queue": None}),
        fetch(conn, Job, "list_running", {"limit": MOST}),
        fetch(conn, Job, "list_died", {"limit": MOST}),
        {row[0]: row[5] for row in run(conn, Call("dash_needs", {}))},
        health,
    )


class Looker(threading.Thread):
    """Looks every `interval` seconds, and does deeds between looks, so that keys never wait for the database.

    News come by `news`; `wake` can be read when there are some. A lost database is looked for again and again.
    """

    def __init__(self, dsn: str, interval: float) -> None:
        super().__init__(name="pgq-top", daemon=True)
        self.news: SimpleQueue[News] = SimpleQueue()
        self.wake, self._waker = os.pipe()
        for end in (self.wake, self._waker):
            os.set_blocking(end, False)
        self._dsn = dsn
        self._interval = interval
        self._deeds: SimpleQueue[Deed | None] = SimpleQueue()
        self._said = ""  # of a deed: told with the look that shows it
        self._health: list[tuple[str, str, str]] = []
        self._health_at = 0.0

    def do(self, deed: Deed) -> None:
        """Do something as soon as possible, and look at what became of it."""
        self._deeds.put(deed)

    def stop(self) -> None:
        """End after what is under way."""
        self._deeds.put(None)

    def run(self) -> None:
        """Look until stopped."""
        going = True
        while going:
            try:
                with connect(self._dsn, "top") as conn:
                    conn.execute(f"set statement_timeout = '{SLOWEST}'")
                    going = self._session(conn)
            except (psycopg.Error, OSError) as error:
                self._tell(News(trouble=without_passwords(first_line(error), self._dsn)))
                going = self._wait(None)

    def _session(self, conn: psycopg.Connection) -> bool:
        """Look on this connection; returns False when it was told to stop. Raises psycopg.Error when it is lost."""
        while True:
            if monotonic() >= self._health_at:
                rows = run(conn, Call("health", {}))
                self._health = [(name, status, message) for name, status, message, _ in rows if status != "ok"]
                self._health_at = monotonic() + HEALTH_EVERY
            self._tell(News(look(conn, self._health), said=self._said))
            self._said = ""
            if not self._wait(conn):
                return False

    def _wait(self, conn: psycopg.Connection | None) -> bool:
        """Wait for the next look, or a deed, and do that; returns False for the end."""
        try:
            deed = self._deeds.get(timeout=self._interval)
        except Empty:
            return True
        if deed is None:
            return False
        if conn is None:
            self._tell(News(said="not done: the database was away"))
            return True
        try:
            self._said = deed(conn)
        except (PgqError, psycopg.Error) as error:
            self._said = f"not done: {first_line(error)}"
            if conn.closed:
                raise
        return True

    def _tell(self, news: News) -> None:
        self.news.put(news)
        self.poke()

    def poke(self) -> None:
        """Let `wake` be read."""
        with contextlib.suppress(BlockingIOError):  # full: it can be read already
            os.write(self._waker, b".")
