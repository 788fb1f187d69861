"""The one reader for all browsers: looks at the views while somebody watches, and publishes what it saw.

No part is read more often than its time here says, and looking takes a tenth of the time at most: what was slow is
looked at less often. The numbers of the queues come every 0.75 s, so that a burst is on every page within a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import psycopg

from pgq.connect import aconnect
from pgq.dashboard.hub import Hub
from pgq.dashboard.pulse import Pulses
from pgq.dashboard.rows import Check, Need, Pulse, QueueRow, WorkerRow
from pgq.dashboard.store import ROLE, fetch, sentence
from pgq.rows import LimitRow

log = logging.getLogger("pgq.dashboard")

SHARE = 0.1  # of the time, at most, that looking may take
LATELY = 4  # looks whose times are remembered
PAUSE = 0.5  # seconds until it is tried again
LINGER = 10.0  # seconds that the connection stays after the last browser has left
ROWS = 200  # workers and limits that are shown
_SETTINGS = "set transaction read only; set local statement_timeout = '5s'"
Say = Callable[[psycopg.AsyncConnection], Awaitable[Any]]


class Poller:
    """Publishes the parts `queues`, `workers`, `limits`, `health` and `needs`, and `database`: whether it answers."""

    def __init__(self, dsn: str, hub: Hub) -> None:
        self._dsn = dsn
        self._hub = hub
        self.pulses = Pulses()
        self._looks: dict[str, tuple[float, Say]] = {
            "queues": (0.75, self._queues),
            "workers": (2.0, self._workers),
            "limits": (2.0, self._limits),
            "health": (5.0, self._health),
            "needs": (5.0, self._needs),
        }
        self._due = dict.fromkeys(self._looks, 0.0)
        self._took = {name: deque[float](maxlen=LATELY) for name in self._looks}

    async def run(self) -> None:
        """Look until cancelled, whatever becomes of the database."""
        while True:
            if not self._hub.wanted():
                self._hub.joined.clear()
                await self._hub.joined.wait()
            try:
                async with await aconnect(self._dsn, ROLE) as conn:
                    await self._look_on(conn)
            except (psycopg.Error, OSError) as error:
                log.info("cannot look: %s", sentence(error))
                self._hub.publish("database", _json({"ok": False, "said": sentence(error)}))
                await asyncio.sleep(PAUSE)

    async def _look_on(self, conn: psycopg.AsyncConnection) -> None:
        """Look while somebody watches. Raises psycopg.Error."""
        self._due = dict.fromkeys(self._looks, 0.0)
        self._hub.publish("database", _json({"ok": True, "said": ""}))
        left = monotonic()
        while monotonic() < left + LINGER:
            self._hub.joined.clear()
            for name in self._wanted():
                left = monotonic()
                if self._due[name] <= left:
                    await self._look(conn, name, left)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hub.joined.wait(), self._pause())
        self._hub.forget(self._looks)

    async def _look(self, conn: psycopg.AsyncConnection, name: str, began: float) -> None:
        cadence, look = self._looks[name]
        async with conn.transaction():
            await conn.execute(_SETTINGS.encode(), prepare=False)
            document = await look(conn)
        self._hub.publish(name, _json(document))
        # The least of the last few: one that waited for a processor, or planned its statements, says little.
        self._took[name].append(monotonic() - began)
        cost = min(self._took[name]) if len(self._took[name]) == LATELY else 0.0
        self._due[name] = began + max(cadence, cost / SHARE)

    def _wanted(self) -> list[str]:
        """Return what to look at, the most frequent first; the queues, for the charts, while anybody is there."""
        wanted = self._hub.wanted()
        return [name for name in self._looks if name in wanted or (name == "queues" and wanted)]

    def _pause(self) -> float:
        soonest = min((self._due[name] for name in self._wanted()), default=monotonic() + 1.0)
        return max(soonest - monotonic(), 0.01)

    async def _queues(self, conn: psycopg.AsyncConnection) -> Any:
        queues = await fetch(conn, QueueRow, "dash_queues", {"queue": None})
        pulses = await fetch(conn, Pulse, "dash_pulse", {})
        look = self.pulses.take(datetime.now(UTC), monotonic(), queues, pulses)
        rows = [{**asdict(row), "beat": asdict(look.beats[row.queue])} for row in queues]
        return {"at": look.at, "queues": rows}

    async def _workers(self, conn: psycopg.AsyncConnection) -> Any:
        return [asdict(row) for row in await fetch(conn, WorkerRow, "dash_workers", {"limit": ROWS})]

    async def _limits(self, conn: psycopg.AsyncConnection) -> Any:
        return [asdict(row) for row in await fetch(conn, LimitRow, "dash_limits", {"limit": ROWS})]

    async def _health(self, conn: psycopg.AsyncConnection) -> Any:
        return [asdict(row) for row in await fetch(conn, Check, "dash_health", {})]

    async def _needs(self, conn: psycopg.AsyncConnection) -> Any:
        return [asdict(row) for row in await fetch(conn, Need, "dash_needs", {})]


def _json(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else float(value)
