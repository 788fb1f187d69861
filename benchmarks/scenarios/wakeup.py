"""How soon an idle worker starts what is enqueued: 1,000 single enqueues a repetition, with random gaps.

Timed: from just before the call of `enqueue` until the first line of the handler, so connecting is outside, while
checking and encoding the payload, the insert, its durable commit, the ring, the claim and the hand-over to a slot are
inside. `enqueue_p50_ms` is the part that the producer waits. Producer and worker are two processes; both read
CLOCK_MONOTONIC, which is one clock for the whole host.

On: one real `pgq.worker.Worker` process with default settings, uvloop where installed, idle when each task comes:
gaps are random, 20 to 80 ms, many times what a task and falling asleep again take. `over_500ms` counts the tasks that
were not found through the doorbell but by the backstop that polls every second.

Durability: the server's as in the manifest; enqueue commits durably.

Checked: every task was executed once.
"""

from __future__ import annotations

import random
import time
from statistics import median, quantiles
from typing import Any

import psycopg

from benchmarks.app import noop
from benchmarks.children import dismiss, until, workers
from benchmarks.harness import Bench
from benchmarks.measure import peak_rss
from benchmarks.results import Outcome

HEADLINE = ("p50_ms", "p95_ms", "p99_ms", "max_ms")
GAP = (0.02, 0.08)
PATIENCE = 10.0  # seconds for the last task


def run(bench: Bench) -> Outcome:
    """Measure one idle worker."""
    outcome = Outcome("wakeup")
    tasks = bench.size(1_000, 40)
    for repetition in range(bench.repetitions):
        with bench.database() as dsn, psycopg.connect(dsn, autocommit=True) as conn:
            metrics = wake(outcome, conn, dsn, tasks)
        outcome.add("idle worker", repetition, metrics)
        bench.say(
            f"wakeup {repetition + 1}/{bench.repetitions}: "
            f"p50 {metrics['p50_ms']:.2f} ms, p99 {metrics['p99_ms']:.2f} ms"
        )
    return outcome


def wake(outcome: Outcome, conn: psycopg.Connection, dsn: str, tasks: int, **order: Any) -> dict[str, float]:
    """Enqueue one task after the other to an idle worker; returns the metrics."""
    with workers(conn, dsn, 1, **order) as crew:
        called, returned = enqueue(conn, tasks)
        try:
            until(lambda: _settled(conn) >= tasks, PATIENCE)
        except TimeoutError:
            outcome.problems.append(f"{_settled(conn)} of {tasks} tasks were settled")
        rss = peak_rss(crew[0].pid)
        (report,) = dismiss(crew)
    outcome.require(sorted(report["executed"]) == list(range(tasks)), "not every task was executed exactly once")
    started = dict(zip(report["executed"], report["started_at"], strict=True))
    waits = [(started[i] - at) / 1e6 for i, at in enumerate(called) if i in started]
    calls = [(after - before) / 1e6 for before, after in zip(called, returned, strict=True)]
    return {**percentiles(waits), "enqueue_p50_ms": median(calls), "worker_rss_mb": rss}


def enqueue(conn: psycopg.Connection, tasks: int) -> tuple[list[int], list[int]]:
    """Enqueue with random gaps; returns when each call began and returned, in nanoseconds."""
    called, returned = [], []
    for i in range(tasks):
        time.sleep(random.uniform(*GAP))
        called.append(time.monotonic_ns())
        noop.enqueue(conn, i=i)
        returned.append(time.monotonic_ns())
    return called, returned


def percentiles(waits: list[float]) -> dict[str, float]:
    """Return the percentiles of waits in milliseconds."""
    cuts = quantiles(waits, n=100, method="inclusive")
    return {
        "p50_ms": cuts[49],
        "p95_ms": cuts[94],
        "p99_ms": cuts[98],
        "max_ms": max(waits),
        "over_500ms": float(sum(wait > 500 for wait in waits)),
    }


def _settled(conn: psycopg.Connection) -> int:
    ((count,),) = conn.execute("select coalesce(sum(completed), 0)::bigint from pgq.counts").fetchall()
    return int(count)
