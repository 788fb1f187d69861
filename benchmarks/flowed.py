"""How a flow is to go, what was seen of it, and the figures that come of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from benchmarks.measure import Reading, costs
from benchmarks.results import Moment
from benchmarks.tally import percentile

CONCURRENCY = 50
AHEAD = 2_000  # tasks that wait at full speed
MOST = 100_000  # tasks a second that the tallies have room for


@dataclass(frozen=True, slots=True)
class Plan:
    """How a flow goes: for so long, looked at every `bucket` seconds; `rate` tasks a second, or 0 for full speed."""

    seconds: float
    bucket: float = 5.0
    rate: float = 0.0
    tick: float = 0.005  # seconds between two calls of the producer at a fixed rate
    processes: int = 1
    ahead: int = AHEAD
    order: Mapping[str, Any] = field(default_factory=lambda: {"concurrency": CONCURRENCY})

    @property
    def task(self) -> str:
        """The handler: at a fixed rate it notes how long each task waited as well."""
        return "timed" if self.rate else "count"

    @property
    def feeding(self) -> dict[str, Any]:
        """What the producer is told."""
        how = {"rate": self.rate, "tick": self.tick} if self.rate else {"ahead": self.ahead}
        return {"task": self.task, **how}

    @property
    def most(self) -> int:
        """Tasks the tallies have room for."""
        return int((self.rate or MOST) * (self.seconds + 10)) + 10_000


@dataclass(slots=True)
class Flowed:
    """What was seen: a moment per bucket, counters over the timed stretch, and totals at its end.

    `writes` are the transactions that settled, `calls` those that enqueued.
    """

    moments: list[Moment]
    spent: Reading
    commits: int
    writes: int
    started: int
    settled: int
    sent: int
    calls: int
    starved: float
    rss: float
    waits: list[int]

    def rate(self, begin: float, end: float) -> float:
        """Return the mean of `tasks_per_s` of the buckets that end within these seconds."""
        return mean(moment.metrics["tasks_per_s"] for moment in self.moments if begin < moment.at <= end + 0.5)


def figures(flowed: Flowed, plan: Plan) -> dict[str, float]:
    """Return the metrics of a flow as a whole."""
    spent, settled = flowed.spent, max(flowed.settled, 1)
    found = {
        "tasks_per_s": settled / spent.at,
        "transactions_per_s": flowed.commits / spent.at,
        "claim_batch_mean": flowed.started / max(spent.xids - flowed.writes - flowed.calls, 1),
        "settle_batch_mean": settled / max(flowed.writes, 1),
        "waiting_at_end": float(flowed.sent - flowed.started),
        **costs(spent, settled, "worker"),
        "worker_rss_mb": flowed.rss,
        "others_cpus": mean(moment.metrics["others_cpus"] for moment in flowed.moments),
    }
    if plan.rate:
        found |= {
            "served_share": settled / (plan.rate * plan.seconds),
            "waiting_max": max(moment.metrics["waiting"] for moment in flowed.moments),
            "p50_ms": percentile(flowed.waits, 0.5),
            "p99_ms": percentile(flowed.waits, 0.99),
        }
    return found
