"""Whether a transaction held open slows the queue: REPEATABLE READ for 120 s (`--seconds`), beside a free control.

Timed: committed outcomes, looked at every 5 s, from the moment the producer begins. At full speed one producer keeps
2,000 tasks waiting; `last_per_s` is the mean of the last 15 s, and `ratio_to_free` compares it to the same seconds of
the free run right before. At a fixed load (4,000 tasks/s, or `--offered`) tasks come whether the worker keeps up or
not: `served_share` of what was offered was settled at the end, `waiting_max` is the longest backlog seen, and the
waits `p50_ms` and `p99_ms` are from just before the enqueue call to the first line of the handler. With `--offered`
only the fixed load is run, and only held: `--seconds 3600 --offered 4000` is the long one.

On: one real `pgq.worker.Worker` process with concurrency 50 and defaults for all else, one producer process
(`enqueue_many`: 500 a call at full speed, the tasks of 5 ms a call at a fixed load), a fresh database each. The held
transaction has counted the tasks, so it holds both a snapshot and a lock on the table; it begins before the first
task. Server, worker, producer and this harness share the machine; the server's costs hold those of enqueueing.

Durability: the server's as in the manifest; pgq's claims commit asynchronously, enqueue and settle do not.

Checked: every task was executed once and its row is completed at its first attempt, also those of the backlog at the
end; the server counted the snapshot to the end; the producer was never the one that was waited for (at full speed, too
few waited for less than a tenth of the time; at a fixed load, 98 % was offered).
"""

from __future__ import annotations

from contextlib import nullcontext

import psycopg

from benchmarks.flow import Flow, dead_tuples
from benchmarks.flowed import Flowed, Plan, figures
from benchmarks.harness import Bench
from benchmarks.horizon import held
from benchmarks.results import Outcome

HEADLINE = ("tasks_per_s", "last_per_s", "ratio_to_free", "served_share", "waiting_max", "p99_ms")
OFFERED = 4_000.0
LAST = 15.0  # seconds at the end that are compared


def run(bench: Bench) -> Outcome:
    """Measure free and held by turns, at full speed and at a fixed load."""
    outcome = Outcome("pinned")
    for repetition in range(bench.repetitions):
        free = 0.0
        for case, rate, holds in cases(bench):
            flowed, metrics = measure(outcome, bench, case, repetition, rate, holds)
            last = flowed.rate(flowed.moments[-1].at - LAST, flowed.moments[-1].at)
            against = {"last_per_s": last, **({"ratio_to_free": last / free} if free and holds else {})}
            free = 0.0 if holds else last
            outcome.add(case, repetition, {"tasks_per_s": metrics["tasks_per_s"], **against, **metrics})
            bench.say(
                f"pinned {repetition + 1}/{bench.repetitions}: {case}: {metrics['tasks_per_s']:,.0f}/s, "
                + ", ".join(f"{name} {value:,.2f}" for name, value in against.items())
            )
    return outcome


def cases(bench: Bench) -> list[tuple[str, float, bool]]:
    """Return the cases: name, tasks/s that are offered (0: full speed), whether the horizon is held."""
    load = bench.offered or bench.size(OFFERED, 500.0)
    full, fixed = "full speed", f"{load:,.0f}/s offered"
    found = [(f"{full}, free", 0.0, False), (f"{full}, held", 0.0, True)]
    found += [(f"{fixed}, free", load, False), (f"{fixed}, held", load, True)]
    return [case for case in (found[-1:] if bench.offered else found) if bench.wants(case[0])]


def measure(
    outcome: Outcome, bench: Bench, case: str, repetition: int, rate: float, holds: bool
) -> tuple[Flowed, dict[str, float]]:
    """Run one flow; returns it and its metrics."""
    plan = Plan(bench.length(120.0, 2.0), bench.size(5.0, 0.5), rate)
    with bench.database() as dsn, psycopg.connect(dsn, autocommit=True) as conn:
        with held(dsn, outcome, case) if holds else nullcontext():
            flowed = Flow(conn, dsn, plan, dead_tuples(conn)).run(outcome, case, repetition)
        return flowed, figures(flowed, plan)
