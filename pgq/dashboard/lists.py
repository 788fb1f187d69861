"""The list of tasks: filtered, a page at a time, each page out of a bounded look along one index."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
from starlette.requests import Request
from starlette.responses import Response

from pgq.dashboard import asked
from pgq.dashboard.asked import Filter, Place
from pgq.dashboard.pages import store
from pgq.dashboard.rows import Listed
from pgq.dashboard.store import fetch
from pgq.dashboard.views import page
from pgq.db import Call, arun

ROWS = 50  # of a page
LOOK = 5_000  # tasks that one page looks at
ORDERS = {
    None: "newest first",
    "pending": "in the order of their turn",
    "processing": "the longest running first",
    "dead": "the latest first",
    "failed": "the latest first",
}
_FIRST = datetime(1, 1, 2, tzinfo=UTC)
_LAST = datetime(9999, 12, 30, tzinfo=UTC)


async def tasks(request: Request) -> Response:
    """List tasks that are like what is asked for, a page at a time."""
    which, after = Filter.of(request.query_params), Place.of(asked.text(request.query_params, "after"))
    async with store(request).reading() as conn:
        names = [row[0] for row in await arun(conn, Call("queue_names", {}))]
        found = await look(conn, which, after)
    rows = [row for row in found if row.fits][:ROWS]
    further = None
    if sum(row.fits for row in found) > ROWS:
        further = rows[-1]
    elif found and found[-1].place >= LOOK:
        further = found[-1]
    return page(
        request, "tasks.html", title="Tasks", rows=rows, which=which, queues=names, after=after,
        further=further and place_of(which, further), partial=further is not None and len(rows) < ROWS, look=LOOK,
        order=ORDERS.get(which.status, ORDERS[None]),
    )  # fmt: skip


async def look(conn: psycopg.AsyncConnection, which: Filter, after: Place | None) -> list[Listed]:
    """Return the tasks of a page, and the last one that was looked at. Each status has its index and its order."""
    values = {**which.given, "most": LOOK, "limit": ROWS + 2}
    values = {**dict.fromkeys(("queue", "status", "task", "error")), **values}
    match which.status:
        case "pending":
            start = after if after and after.at else Place(0, _FIRST, -1)
            values |= {"priority": start.priority, "at": start.at, "id": start.id}
            return await fetch(conn, Listed, "dash_waiting", values)
        case "processing":
            start = after if after and after.at else Place(0, _FIRST)
            return await fetch(conn, Listed, "dash_running", values | {"at": start.at, "id": start.id})
        case "dead" | "failed":
            start = after if after and after.at else Place(at=_LAST)
            return await fetch(conn, Listed, "dash_ended", values | {"at": start.at, "id": start.id})
        case _:
            return await fetch(conn, Listed, "dash_recent", values | {"before": (after or Place()).id})


def place_of(which: Filter, row: Listed) -> Place:
    """Return the place after a row, in the order of its list."""
    match which.status:
        case "pending":
            return Place(row.id, row.scheduled_at, row.priority)
        case "processing":
            return Place(row.id, row.started_at)
        case "dead" | "failed":
            return Place(row.id, row.completed_at)
        case _:
            return Place(row.id)
