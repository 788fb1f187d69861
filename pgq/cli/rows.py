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
class StatsRow:
    """The health of a queue; what ended counts the last 24 hours, rates are tasks per second, times seconds."""

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
    due: int
    throttled: int
    throttled_until: datetime | None
    wait_p50: float | None
    wait_p95: float | None
    run_p50: float | None
    run_p95: float | None
    arrived_1m: float | None
    arrived_5m: float | None
    arrived_60m: float | None
    served_1m: float | None
    served_5m: float | None
    served_60m: float | None
    estimated: bool
    seen_at: datetime | None

    @property
    def state(self) -> str:
        """Whether it is paused, held back by its limit, or works."""
        if self.paused:
            return "paused"
        return "throttled" if self.throttled_until is not None else ""


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker process; `silent_for` is seconds.

    `supervisor` is the parent that keeps `scale` processes (4, or by need 2..16), of which there are `processes` now.
    """

    id: int
    name: str
    host: str
    pid: int
    queues: list[str]
    concurrency: int
    running: int
    stopping: bool
    version: str
    started_at: datetime
    heartbeat_at: datetime
    silent_for: float
    alive: bool
    supervisor: str | None
    scale: str | None
    processes: int

    @property
    def of(self) -> str:
        """How many processes its supervisor has of how many it may have; empty without one."""
        return f"{self.processes} of {self.scale}" if self.scale else ""

    @property
    def state(self) -> str:
        """Whether it works, is about to end, or has not been heard of."""
        if not self.alive:
            return "silent"
        return "stopping" if self.stopping else "alive"


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """A failed attempt of a task."""

    attempt: int
    worker: str | None
    started_at: datetime | None
    ended_at: datetime
    error: str
    traceback: str | None


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule of alerts, and how many things it finds now; `targets` is None for all."""

    name: str
    targets: list[str] | None
    firing: int
    ran_at: datetime | None
    took: float
    error: str | None
    query: str


@dataclass(frozen=True, slots=True)
class TargetRow:
    """A target of alerts, and how its notes fared; `settings` name variables, and hold no secret."""

    name: str
    kind: str
    settings: dict[str, Any]
    sent_at: datetime | None
    waiting: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class AlertRow:
    """Something that fired; `lasted` is seconds until it recovered, None while it has not."""

    id: int
    rule: str
    key: str
    message: str
    fired_at: datetime
    recovered_at: datetime | None
    lasted: float | None
    told_at: datetime | None
    notes: int
    sent: int
    attempts: int
    last_error: str | None
