"""Rows that pages show: the fields are the columns of their statements, in order. Durations are seconds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A queue as `pgq.queue_stats` has it; what ended counts 24 hours, rates are tasks per second."""

    queue: str
    paused: bool
    pending: int
    processing: int
    completed: int
    failed: int
    dead: int
    cancelled: int
    retried: int
    oldest_due_age: float | None
    wait_p50: float | None
    wait_p95: float | None
    run_p50: float | None
    run_p95: float | None
    arrived_1m: float | None
    arrived_60m: float | None
    served_1m: float | None
    served_60m: float | None
    throttled: int | None
    throttled_until: datetime | None


@dataclass(frozen=True, slots=True)
class Pulse:
    """How many tasks of a queue ended in one minute."""

    queue: str
    minute: datetime
    ended: int


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker process."""

    id: int
    name: str
    host: str
    pid: int
    queues: list[str]
    concurrency: int
    running: int
    utilisation: float | None
    stopping: bool
    version: str
    started_at: datetime
    silent_for: float
    alive: bool


@dataclass(frozen=True, slots=True)
class Check:
    """A health check."""

    name: str
    status: str
    message: str
    value: float | None


@dataclass(frozen=True, slots=True)
class Need:
    """What a queue needs so that its backlog drains."""

    queue: str
    slots: int
    busy: int
    backlog: int
    wait: float | None
    needed_slots: int
    needed_workers: int


@dataclass(frozen=True, slots=True)
class Minute:
    """One minute of one queue, or of all together."""

    minute: datetime
    arrived: int | None
    ended: int
    dead: int
    retried: int
    wait_p50: float | None
    wait_p95: float | None
    depth: int | None


@dataclass(frozen=True, slots=True)
class Listed:
    """A task that was looked at: the how-manieth it was, whether it is like what was asked for."""

    place: int
    fits: bool
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
    last_error: str | None


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """Everything about one task; `payload` is JSON as it was written."""

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
    timeout: float
    unique_key: str | None
    limit_keys: list[str] | None
    throttled_by: str | None
    weight: int | None
    bounces: int
    crashes: int
    cancel_requested: bool
    worker_id: int | None
    worker: str | None
    last_error: str | None
    traceback: str | None
    payload: str
    explanation: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """A failed attempt."""

    attempt: int
    worker: str | None
    started_at: datetime | None
    ended_at: datetime
    error: str
    traceback: str | None


@dataclass(frozen=True, slots=True)
class Stuck:
    """A task that should have moved and did not."""

    id: int
    queue: str
    task: str
    status: str
    reason: str
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Partition:
    """A day of the table of tasks."""

    name: str
    live_rows: int | None
    dead_rows: int | None
    bytes: int
    sealed_at: datetime | None
    drops_at: datetime | None
    last_autovacuum: datetime | None


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter in a list."""

    id: int
    queue: str
    task: str
    attempts: int
    max_attempts: int
    created_at: datetime
    died_at: datetime
    last_error: str | None
