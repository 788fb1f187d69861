"""What pages fetch after they are shown: the stream of events, and the last hours for charts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from time import monotonic

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pgq.dashboard import asked
from pgq.dashboard.hub import Hub
from pgq.dashboard.poller import Poller
from pgq.dashboard.rows import Minute
from pgq.dashboard.store import Store, fetch
from pgq.dashboard.stream import Stream

PARTS = frozenset({"queues", "workers", "limits", "health", "needs", "jobs", "database"})
FRESH = 10.0  # seconds for which minutes are not read again
COLUMNS = ("arrived", "ended", "dead", "retried", "wait_p50", "wait_p95", "depth")
MOST = 500  # queues whose minutes are remembered


async def events(request: Request) -> Response:
    """Stream the parts that a page asks for, with what is remembered where it draws charts."""
    hub: Hub = request.app.state.hub
    poller: Poller = request.app.state.poller
    if hub.full:
        raise HTTPException(503, "Too many browsers watch already.")
    first = b""
    if "history" in request.query_params:
        remembered = poller.pulses.history(asked.text(request.query_params, "history"))
        first = f"event: history\ndata: {json.dumps(remembered)}\n\n".encode()
    return Stream(hub, PARTS & set(request.query_params.get("parts", "").split(",")), first)


async def minutes(request: Request) -> Response:
    """Return the last hours by the minute, for charts, as JSON: times in milliseconds, then columns."""
    remembered: Minutes = request.app.state.minutes
    rows = await remembered.of(asked.text(request.query_params, "queue"))
    columns = {name: [getattr(row, name) for row in rows] for name in COLUMNS}
    return JSONResponse({"at": [int(row.minute.timestamp() * 1000) for row in rows], **columns})


class Minutes:
    """The minutes of each queue, and (None) of all together, read once for however many browsers."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str | None, tuple[float, Sequence[Minute]]] = {}
        self._lock = asyncio.Lock()

    async def of(self, queue: str | None) -> Sequence[Minute]:
        """Return the last three hours. Raises psycopg.Error."""
        async with self._lock:
            until, rows = self._known.get(queue, (0.0, ()))
            if until > monotonic():
                return rows
            async with self._store.reading() as conn:
                rows = await fetch(conn, Minute, "dash_minutes", {"queue": queue})
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[queue] = (monotonic() + FRESH, rows)
            return rows
