"""Rows that the command line and the dashboard both show: the fields are the columns of their statements, in order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


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
class AuditRow:
    """One action of somebody."""

    id: int
    at: datetime
    actor: str
    action: str
    queue: str | None
    filter: Any
    count: int
    note: str | None
