"""Rows that commands list and show: the fields are the columns of their statements, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import psycopg

from pgq.db import Call, run

T = TypeVar("T")


def fetch(conn: psycopg.Connection, kind: type[T], query: str, values: Mapping[str, Any]) -> list[T]:
    """Return the rows of one statement."""
    return [kind(*row) for row in run(conn, Call(query, values))]


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task in a list."""

    id: int
    queue: str
    task: str
    status: str
    priority: int
    attempts: int
    max_attempts: int
    created_at: datetime
    scheduled_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    worker_id: int | None
    timeout: float
    unique_key: str | None
    last_error: str | None
    payload: Any


@dataclass(frozen=True, slots=True)
class TaskDetail(TaskRow):
    """A task with everything that is known about it; `worker` is the name of the one that has or had it."""

    worker: str | None
    crashes: int
    cancel_requested: bool
    traceback: str | None


@dataclass(frozen=True, slots=True)
class DeadRow:
    """A dead letter in a list."""

    id: int
    queue: str
    task: str
    priority: int
    attempts: int
    max_attempts: int
    crashes: int
    created_at: datetime
    died_at: datetime
    last_error: str | None
    payload: Any


@dataclass(frozen=True, slots=True)
class Picked:
    """A dead letter that a replay takes."""

    id: int
    queue: str
    task: str
    died_at: datetime
    last_error: str | None


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A queue and its settings; durations are seconds."""

    name: str
    concurrency: int | None
    rate_max: int | None
    rate_per: float | None
    timeout: float
    max_attempts: int
    backoff: str
    delay: float
    max_delay: float
    jitter: float
    keep_dead: bool
    retention: float
    on_limiter_down: str
    paused: bool
    paused_at: datetime | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class LimitRow:
    """A limit of a queue or of a key, and where it was when it was seen; a kind of keys has neither key nor usage."""

    name: str
    kind: str
    key: str | None
    rate_max: int | None
    rate_per: float | None
    concurrency: int | None
    used: int | None
    running: int | None
    throttled_until: datetime | None
    denied: int | None
    seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class StatsRow:
    """The health of a queue; what ended counts the last 24 hours."""

    queue: str
    pending: int
    processing: int
    completed: int
    failed: int
    dead: int
    cancelled: int
    retried: int
    oldest_due_age: float | None
    paused: bool
