"""What the queues of one supervisor need now, looked up once a second by a thread with a connection of its own.

A thread, so that a database which does not answer keeps the supervisor from nothing: neither from passing a signal on
nor from replacing a child. What was seen is good for a few seconds; then nothing is known, and nothing changes.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Sequence
from time import monotonic

import psycopg

from pgq.connect import connect
from pgq.db import Call, run
from pgq.redact import first_line
from pgq.scale import Need, wanted

log = logging.getLogger("pgq")

EVERY = 1.0  # seconds between two looks, give or take a fifth: supervisors need not look all at once
FRESH = 5.0  # seconds for which a look is good


class Scout(threading.Thread):
    """Looks until stopped; `processes` is what was wanted at the last look, None when that is too long ago."""

    def __init__(self, dsn: str, supervisor: str, queues: Sequence[str], concurrency: int) -> None:
        super().__init__(name="pgq-scout", daemon=True)
        self._dsn = dsn
        self._values = {"supervisor": supervisor, "queues": list(queues)}
        self._concurrency = concurrency
        self._over = threading.Event()
        self._seen: tuple[float, int | None] = (-FRESH, None)

    @property
    def processes(self) -> int | None:
        """How many processes are wanted; None when it is not known."""
        at, processes = self._seen
        return processes if monotonic() < at + FRESH else None

    def stop(self) -> None:
        """End after the look under way."""
        self._over.set()

    def run(self) -> None:
        """Look again and again; a lost connection is replaced."""
        while not self._over.is_set():
            try:
                with connect(self._dsn, "scale") as conn:
                    while not self._over.wait(random.uniform(0.8, 1.2) * EVERY):  # noqa: S311 - jitter
                        self._seen = (monotonic(), self._look(conn))
            except (psycopg.Error, OSError) as error:
                log.warning("scale: no look at the queues, the number of processes stays: %s", first_line(error))
                self._over.wait(random.uniform(0.8, 1.2) * EVERY)  # noqa: S311 - jitter

    def _look(self, conn: psycopg.Connection) -> int | None:
        with conn.transaction():
            conn.execute("set local statement_timeout = '5s'")
            rows = run(conn, Call("autoscale", self._values))
        own = rows[0][0] if rows else 0
        return wanted([Need(*map(float, row[1:])) for row in rows], own, self._concurrency)
