"""Whether a worker stays as it is: 30 minutes (`--seconds`) at 1,000 tasks/s (`--offered`), looked at every 10 s.

Timed: `tasks_per_s` counts committed outcomes; `p50_ms` and `p99_ms` are from just before the enqueue call to the first
line of the handler. `rss_slope_mb_per_h` is the slope of a straight line through the worker's resident memory, by
least squares, over the last three quarters of the run; `rss_growth_mb` is its last value less the first of that
stretch. `connections` are the worker's at the server, `fds` its open files; each as least and most.

On: one real `pgq.worker.Worker` process with concurrency 50 and defaults for all else, one producer process that
enqueues the tasks of 5 ms in one call, a fresh database. The handlers note what ran in memory that does not grow.

Durability: the server's as in the manifest; pgq's claims commit asynchronously, enqueue and settle do not.

Checked: every task was executed once and its row is completed at its first attempt; 98 % was offered.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import linear_regression

import psycopg

from benchmarks.children import Child
from benchmarks.flow import Flow, Look
from benchmarks.flowed import Plan, figures
from benchmarks.harness import Bench
from benchmarks.measure import open_files, rss
from benchmarks.results import Moment, Outcome

HEADLINE = ("rss_slope_mb_per_h", "waiting_max", "connections_max", "p99_ms")
_CONNECTIONS = (
    "select count(*) from pg_stat_activity where application_name like 'pgq %' and datname = current_database()"
)


def run(bench: Bench) -> Outcome:
    """Soak once per repetition."""
    outcome = Outcome("soak")
    rate = bench.offered or bench.size(1_000.0, 200.0)
    plan = Plan(bench.length(1_800.0, 2.0), bench.size(10.0, 0.25), rate)
    case = f"{rate:,.0f}/s offered"
    for repetition in range(bench.repetitions):
        with bench.database() as dsn, psycopg.connect(dsn, autocommit=True) as conn:
            flowed = Flow(conn, dsn, plan, held(conn)).run(outcome, case, repetition)
        metrics = {**slopes(flowed.moments), **figures(flowed, plan)}
        outcome.add(case, repetition, metrics)
        bench.say(
            f"soak {repetition + 1}/{bench.repetitions}: {metrics['rss_slope_mb_per_h']:.2f} MB/h, "
            f"{metrics['connections_min']:.0f} to {metrics['connections_max']:.0f} connections, "
            f"at most {metrics['waiting_max']:.0f} waited"
        )
    return outcome


def held(conn: psycopg.Connection) -> Look:
    """Return a look at what the worker holds."""

    def look(crew: Sequence[Child]) -> dict[str, float]:
        ((connections,),) = conn.execute(_CONNECTIONS).fetchall()
        return {
            "rss_mb": rss(crew[0].pid),
            "connections": float(connections),
            "fds": float(open_files(crew[0].pid)),
        }

    return look


def slopes(moments: Sequence[Moment]) -> dict[str, float]:
    """Return how the memory grew after the first quarter, and how few and many connections and files there were."""
    settled = moments[len(moments) // 4 :]
    memory = [moment.metrics["rss_mb"] for moment in settled]
    slope = linear_regression([moment.at / 3_600 for moment in settled], memory).slope
    bounds: dict[str, float] = {}
    for metric in ("connections", "fds"):
        values = [moment.metrics[metric] for moment in settled]
        bounds |= {f"{metric}_min": min(values), f"{metric}_max": max(values)}
    return {"rss_slope_mb_per_h": slope, "rss_growth_mb": memory[-1] - memory[0], **bounds}
