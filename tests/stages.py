"""The statements of the line with sensible values, for tests that drive them by hand."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg
from factory import QUEUE

from pgq.cursor import BEGINNING, PRIORITIES
from pgq.db import Call, run
from pgq.task import Settled, Task


def claim_values(worker_id: int, **changes: Any) -> dict[str, Any]:
    """Return the values of a claim from the beginning, with some changed."""
    values = {
        "queue": QUEUE,
        "worker_id": worker_id,
        "lease": uuid.uuid4(),
        "priorities": PRIORITIES,
        "floors": [BEGINNING] * len(PRIORITIES),
        "tasks": ["work"],
        "count": 10,
        "now": None,
    }
    values |= changes
    return values


def claim(conn: psycopg.Connection, worker_id: int, **changes: Any) -> list[Task]:
    """Claim due tasks; returns them in the order in which they would run."""
    values = claim_values(worker_id, **changes)
    tasks = [Task(values["queue"], values["lease"], *row) for row in run(conn, Call("claim", values))]
    return sorted(tasks, key=lambda task: (task.priority, task.scheduled_at, task.id))


def begin(conn: psycopg.Connection, *tasks: Task, suspect: bool = True, late: float = 1.0) -> list[int]:
    """Say that runs of one queue begin; returns the ids that may."""
    values = {**keys(tasks), "suspects": [suspect] * len(tasks), "late": late}
    return [row[0] for row in run(conn, Call("begin", values))]


def settle(conn: psycopg.Connection, *entries: tuple[Task, Settled]) -> list[int]:
    """Write outcomes of one queue; returns the ids that moved."""
    tasks, outcomes = zip(*entries, strict=True)
    columns = {
        "statuses": [outcome.status for outcome in outcomes],
        "due": [outcome.due for outcome in outcomes],
        "after": [outcome.after for outcome in outcomes],
        "refunds": [outcome.refund for outcome in outcomes],
        "errors": [outcome.error for outcome in outcomes],
        "tracebacks": [outcome.traceback for outcome in outcomes],
        "limit_keys": [outcome.limit_key for outcome in outcomes],
    }
    return [row[0] for row in run(conn, Call("settle", {**keys(tasks), **columns}))]


def complete(conn: psycopg.Connection, *tasks: Task, forget: bool = False) -> list[int]:
    """Record successful runs of one queue, or delete them; returns the ids that moved."""
    return [row[0] for row in run(conn, Call("forget" if forget else "complete", keys(tasks)))]


def recover(
    conn: psycopg.Connection, queue: str = QUEUE, *, floor: datetime = BEGINNING, grace: float = 0.0, batch: int = 100,
    stepped_at: datetime = BEGINNING, ahead: float = 0.0,
) -> dict[int, str]:  # fmt: skip
    """Give back lost tasks of a queue; returns the status each one got."""
    values = {"queue": queue, "floor": floor, "grace": grace, "batch": batch, "stepped_at": stepped_at, "ahead": ahead}
    return {row[0]: row[1] for row in run(conn, Call("recover", values))}


def keys(tasks: Sequence[Task]) -> dict[str, Any]:
    """Return the queue of these tasks and the three arrays that name their leases."""
    return {
        "queue": tasks[0].queue,
        "ids": [task.id for task in tasks],
        "scheduled": [task.scheduled_at for task in tasks],
        "leases": [task.lease for task in tasks],
    }
