"""The check-up that a monitor asks for: what pgq.health says, and queues beyond thresholds that are given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pgq.db import Call, run
from pgq.errors import UnknownQueue

CODES = {"ok": 0, "warn": 1, "critical": 2}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check found: its status is ok, warn or critical."""

    name: str
    status: str
    message: str
    value: float


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on a queue is not well: seconds its oldest due task waits, tasks that died in the last 24 hours."""

    warn_age: float | None = None
    max_age: float | None = None
    warn_dead: int | None = None
    max_dead: int | None = None


def check_up(conn: Any, queues: Sequence[str] = (), thresholds: Thresholds = Thresholds()) -> list[Verdict]:
    """Return every check, the queues' own (of `queues`, else of all) last. Raises UnknownQueue, psycopg.Error."""
    verdicts = [Verdict(*row) for row in run(conn, Call("health", {}))]
    rows = run(conn, Call("check_queues", {"queues": list(queues) or None}))
    if missing := sorted(set(queues) - {row[0] for row in rows}):
        raise UnknownQueue(f"unknown queue {missing[0]!r}: see `pgq queues list`")
    return [*verdicts, *(verdict for row in rows for verdict in _queue(thresholds, *row))]


def worst(verdicts: Sequence[Verdict]) -> int:
    """Return the exit code that monitors expect: 0 all is well, 1 something warns, 2 something is critical."""
    return max((CODES[verdict.status] for verdict in verdicts), default=0)


def _queue(thresholds: Thresholds, queue: str, paused: bool, age: float, dead: int) -> Iterator[Verdict]:
    if thresholds.warn_age is not None or thresholds.max_age is not None:
        status = "ok" if paused else _status(age, thresholds.warn_age, thresholds.max_age)
        yield Verdict(f"age of {queue}", status, f"the oldest due task of queue {queue} waits for {age:.0f} s", age)
    if thresholds.warn_dead is not None or thresholds.max_dead is not None:
        status = _status(dead, thresholds.warn_dead, thresholds.max_dead)
        text = f"{dead} tasks of queue {queue} died in the last 24 hours: `pgq dead list --queue {queue}`"
        yield Verdict(f"dead of {queue}", status, text, dead)


def _status(value: float, warn: float | None, most: float | None) -> str:
    if most is not None and value > most:
        return "critical"
    return "warn" if warn is not None and value > warn else "ok"
