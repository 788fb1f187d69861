"""Whether priority holds at a limit: urgent tasks enqueued behind thousands of others of a queue whose slots are taken.

Two figures count the others that started between the commit of an urgent task and its start. `others_started` takes
the handlers' starts after the enqueue returned: it holds those that were starting at that moment. `overtaking` takes
only those that were claimed after the commit, by the server's clock, and before the urgent one was.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import LiteralString

import psycopg

from benchmarks.app import QUEUE
from benchmarks.children import dismiss, until, workers
from benchmarks.harness import Bench
from benchmarks.limits import app, probes
from benchmarks.limits.tight import fullest
from benchmarks.results import Outcome
from pgq.quota import Quota

SLOTS = 20
PROCESSES = 2
GAP = (0.1, 0.3)  # seconds between two urgent tasks
PATIENCE = 30.0
_CROWD = app.brief.options(priority=8)
_URGENT = app.brief.options(priority=0)
_BUSY = "select coalesce(sum(completed), 0) >= %s from pgq.counts"
_URGENT_ENDED = "select count(*) >= %s from pgq.tasks where priority = 0 and status = 'completed'"
_CLAIMS = """
select (payload ->> 'i')::int, started_at
from pgq.tasks
where queue = %s and started_at is not null
"""


@dataclass(frozen=True, slots=True)
class Sent:
    """An urgent task: its number, when its enqueue returned (nanoseconds), and the server's clock after that."""

    i: int
    returned: int
    committed: datetime


def run(outcome: Outcome, bench: Bench, repetition: int) -> None:
    """Let the slots be taken for a while, then send urgent tasks."""
    crowd, times = bench.size(10_000, 2_000), bench.size(50, 5)
    case = f"priority 0 behind {crowd:,} of priority 8, {SLOTS} slots of {app.BRIEF * 1000:g} ms"
    with bench.database() as dsn, psycopg.connect(dsn, autocommit=True) as conn:
        app.impose(conn, Quota(slots=SLOTS))
        with workers(conn, dsn, PROCESSES, concurrency=SLOTS, **app.order(bench.redis_url)) as crew:
            _CROWD.enqueue_many(conn, [{"i": i} for i in range(crowd)])
            until(lambda: yes(conn, _BUSY, SLOTS * 10), PATIENCE)
            sent = [send(conn, crowd + place) for place in range(times)]
            with suppress(TimeoutError):
                until(lambda: yes(conn, _URGENT_ENDED, times), PATIENCE)
            started = probes.starts(dismiss(crew))
        claimed: dict[int, datetime] = dict(conn.execute(_CLAIMS, (QUEUE,)).fetchall())
    check(outcome, case, started, [task.i for task in sent], crowd)
    metrics = figures([task for task in sent if task.i in started], started, claimed)
    outcome.add(case, repetition, metrics)
    bench.say(f"limits: {case}: " + ", ".join(f"{name} {value:,.2f}" for name, value in metrics.items()))


def check(outcome: Outcome, case: str, started: Mapping[int, int], urgent: Sequence[int], crowd: int) -> None:
    """Make the run invalid unless every urgent task started at a queue that was at its limit, and never above it."""
    lost = [i for i in urgent if i not in started]
    outcome.require(not lost, f"{case}: {len(lost)} urgent tasks did not start")
    outcome.require(sum(i < crowd for i in started) < crowd, f"{case}: nothing waited any more at the end")
    # A run is no shorter than its sleep, but for what timers may be early.
    most = fullest(sorted(started.values()), round(app.BRIEF * 1e9) - 1_000_000)
    outcome.require(most <= SLOTS, f"{case}: {most} ran at once")


def yes(conn: psycopg.Connection, query: LiteralString, *values: object) -> bool:
    """Return what a query says."""
    ((found,),) = conn.execute(query, values).fetchall()
    return bool(found)


def send(conn: psycopg.Connection, i: int) -> Sent:
    """Enqueue one urgent task after a random gap."""
    time.sleep(random.uniform(*GAP))
    _URGENT.enqueue(conn, i=i)
    returned = time.monotonic_ns()
    ((committed,),) = conn.execute("select clock_timestamp()").fetchall()
    return Sent(i, returned, committed)


def figures(sent: Sequence[Sent], started: Mapping[int, int], claimed: Mapping[int, datetime]) -> dict[str, float]:
    """Return the metrics of urgent tasks."""
    urgent = {task.i for task in sent}
    others = [i for i in started if i not in urgent]
    before = [sum(task.returned < started[i] < started[task.i] for i in others) for task in sent]
    later = [sum(task.committed < claimed[i] < claimed[task.i] for i in others if i in claimed) for task in sent]
    delays = [(started[task.i] - task.returned) / 1e6 for task in sent]
    return {
        "others_started_p50": float(median(before)),
        "others_started_max": float(max(before)),
        "overtaking_max": float(max(later)),
        "overtaken_share": sum(count > 0 for count in later) / len(later),
        "delay_p50_ms": median(delays),
        "delay_max_ms": max(delays),
    }
