"""How well a rate that binds is used, and whether it holds: seen by the handlers of two worker processes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import psycopg

from benchmarks.harness import Bench
from benchmarks.limits import app
from benchmarks.results import Outcome
from benchmarks.scenarios import drain
from pgq.quota import Quota

MOST, PER = 2_000, 1.0
PROCESSES = 2


def run(outcome: Outcome, bench: Bench, repetition: int) -> None:
    """Drain so many windows and a half; the half is the backlog that still waits when the last whole one ends."""
    windows = bench.size(10, 1)
    tasks = MOST * windows + MOST // 2
    case = f"rate of {MOST:,} per {PER:g} s, {PROCESSES} processes"
    with bench.database() as dsn, psycopg.connect(dsn, autocommit=True) as conn:
        app.impose(conn, Quota(MOST, PER))
        drained = drain.drain(conn, dsn, PROCESSES, tasks, **app.order(bench.redis_url))
        drain.check(outcome, conn, drained, tasks, case)
    starts = sorted(start for report in drained.reports for start in report["started_at"])
    metrics = figures(starts, windows)
    most = metrics["fullest_window"]
    outcome.require(most <= MOST, f"{case}: {most:.0f} tasks started within {PER:g} s")
    outcome.add(case, repetition, metrics)
    bench.say(
        f"limits: {case}: {metrics['starts_per_s']:,.0f}/s, {metrics['utilisation']:.1%} used, fullest {most:.0f}"
    )


def figures(starts: Sequence[int], windows: int) -> dict[str, float]:
    """Return the metrics of sorted starts (nanoseconds).

    A limit that is fully used lets the start number `MOST * windows`, counted from 0, come `windows` windows after the
    first, and never sooner.
    """
    seconds = (starts[MOST * windows] - starts[0]) / 1e9 if len(starts) > MOST * windows else float("inf")
    return {
        "starts_per_s": MOST * windows / seconds,
        "utilisation": PER * windows / seconds,
        "fullest_window": float(fullest(starts, round(PER * 1e9))),
    }


def fullest(starts: Sequence[int], length: int) -> int:
    """Return the most of sorted moments in any window of this length, both ends included."""
    return max((bisect_right(starts, at + length) - first for first, at in enumerate(starts)), default=0)
