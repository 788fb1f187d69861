"""What a worker counts of its own work: per trip down the line and per written batch, never per task.

Plain numbers that one thread writes and others may read; `pgq.metrics` makes a page of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
TASKS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)


class Histogram:
    """How often a value was at most each of some bounds; the last count is of those above all bounds."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value in."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class LineMeters:
    """Trips down the line: how long the claims of one took, how many tasks they brought, of which queue."""

    def __init__(self) -> None:
        self.claim_seconds = Histogram(SECONDS)
        self.claim_tasks = Histogram(TASKS)
        self.claimed: Counter[str] = Counter()


class SettleMeters:
    """Written outcomes, by queue and what they were, and how many came too late."""

    def __init__(self) -> None:
        self.settle_seconds = Histogram(SECONDS)
        self.settle_tasks = Histogram(TASKS)
        self.outcomes: Counter[tuple[str, str]] = Counter()
