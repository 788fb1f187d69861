"""Single tasks of free keys, one after the other, and how soon each of them started."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping, Sequence
from statistics import quantiles
from typing import Any

import psycopg

from benchmarks.limits import app

GAP = (0.02, 0.08)  # seconds


class Probes:
    """Enqueues the tasks, each of a key of its own; remembers when each call began, in nanoseconds."""

    def __init__(self, conn: psycopg.Connection) -> None:
        self._conn = conn
        self.called: dict[int, int] = {}

    def send(self, times: int) -> list[int]:
        """Enqueue so many, with random gaps; returns their numbers."""
        return [self._send() for _ in range(times)]

    def _send(self) -> int:
        time.sleep(random.uniform(*GAP))
        i = len(self.called)
        self.called[i] = time.monotonic_ns()
        app.keyed.enqueue(self._conn, i=i, tenant=f"free-{i}")
        return i

    def waits(self, numbers: Iterable[int], reports: Sequence[Mapping[str, Any]]) -> list[float]:
        """Return the milliseconds from the call to the start, of those that started as the workers report."""
        started = starts(reports)
        return [(started[i] - self.called[i]) / 1e6 for i in numbers if i in started]


def starts(reports: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """Return when each task started, as the workers said: nanoseconds, by the task's number."""
    pairs = (zip(report["executed"], report["started_at"], strict=True) for report in reports)
    return {i: at for report in pairs for i, at in report}


def percentiles(waits: Sequence[float]) -> dict[str, float]:
    """Return the percentiles of waits in milliseconds."""
    cuts = quantiles(waits, n=100, method="inclusive")
    return {"p50_ms": cuts[49], "p99_ms": cuts[98], "max_ms": max(waits)}
