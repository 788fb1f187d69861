"""The pages that are read: of queues, single tasks, workers, limits, health, and the audit."""

from __future__ import annotations

import json

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pgq.dashboard import asked
from pgq.dashboard.asked import Place
from pgq.dashboard.rows import Attempt, Partition, Stuck, TaskFacts
from pgq.dashboard.store import Store, fetch
from pgq.dashboard.views import page
from pgq.rows import AuditRow, QueueRow

ROWS = 50  # of a list


def store(request: Request) -> Store:
    """Return the connections of this dashboard."""
    found: Store = request.app.state.store
    return found


async def overview(request: Request) -> Response:
    """Show how all queues are."""
    return page(request, "overview.html", title="Overview")


async def queue(request: Request) -> Response:
    """Show one queue: how it is, its settings."""
    name = path_text(request, "name")
    async with store(request).reading() as conn:
        found = await fetch(conn, QueueRow, "list_queues", {"name": name})
    if not found:
        raise HTTPException(404, f"There is no queue {name!r}.")
    return page(request, "queue.html", title=name, queue=found[0])


async def task(request: Request) -> Response:
    """Show everything about one task."""
    number = asked.task_id(request.path_params["id"])
    async with store(request).reading() as conn:
        found = await fetch(conn, TaskFacts, "dash_task", {"id": number})
        attempts = await fetch(conn, Attempt, "dash_attempts", {"id": number}) if found else []
    if not found:
        raise HTTPException(404, f"There is no task {number}. Tasks that ended are forgotten after their retention.")
    payload = request.app.state.settings.redaction.shown(found[0].payload)
    return page(request, "task.html", title=f"Task {number}", task=found[0], attempts=attempts, payload=payload)


async def workers(request: Request) -> Response:
    """Show the worker processes, and how many are needed."""
    return page(request, "workers.html", title="Workers")


async def limits(request: Request) -> Response:
    """Show the limits and where they are."""
    return page(request, "limits.html", title="Limits")


async def health(request: Request) -> Response:
    """Show every check, what is stuck, and the days of the table."""
    async with store(request).reading() as conn:
        stuck = await fetch(conn, Stuck, "dash_stuck", {"limit": ROWS})
        days = await fetch(conn, Partition, "dash_partitions", {"limit": 60})
    return page(request, "health.html", title="Health", stuck=stuck, days=days)


async def audit(request: Request) -> Response:
    """Show who did what."""
    before = Place.of(asked.text(request.query_params, "after"))
    values = {"queue": None, "action": None, "actor": None, "newer": None, "limit": ROWS + 1}
    async with store(request).reading() as conn:
        rows = await fetch(conn, AuditRow, "list_audit", values | {"before": before.id if before else None})
    shown = [(row, json.dumps(row.filter, ensure_ascii=False) if row.filter else "") for row in rows[:ROWS]]
    return page(
        request, "audit.html", title="Audit", rows=shown, further=rows[ROWS - 1].id if len(rows) > ROWS else None
    )


def path_text(request: Request, name: str) -> str:
    """Return a text out of the path. Raises HTTPException 404 for what nothing is called."""
    value = str(request.path_params[name])
    if "\0" in value or len(value) > asked.LONGEST:
        raise HTTPException(404, "There is nothing of that name.")
    return value
