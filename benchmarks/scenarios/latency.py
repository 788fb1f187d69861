"""How long a task waits while a worker is busy: at half and at nine tenths of what it can do.

Timed: from building a task's payload, just before the call of `enqueue_many`, until the first line of its handler, so
checking, the insert, its durable commit, the claim and the hand-over to a slot are inside. First comes the full speed
of the same producer and worker on the same machine (2,000 tasks kept waiting, 10 s): `tasks_per_s` of it is what 50 %
and 90 % are of. Then tasks come at that rate whatever the worker does (an open loop), those of each 5 ms in one call,
for 20 s each (`--seconds`). Waits are kept in a histogram whose buckets are 3 to 6 % wide.

On: one real `pgq.worker.Worker` process with concurrency 50 and defaults for all else, one producer process, a fresh
database each. Server, worker, producer and this harness share the machine. `waiting_max` is the longest backlog seen.

Durability: the server's as in the manifest; pgq's claims commit asynchronously, enqueue and settle do not.

Checked: every task was executed once and its row is completed at its first attempt; the producer kept its rate.
"""

from __future__ import annotations

import psycopg

from benchmarks.flow import Flow
from benchmarks.flowed import Plan, figures
from benchmarks.harness import Bench
from benchmarks.results import Outcome

HEADLINE = ("p50_ms", "p99_ms", "served_share", "tasks_per_s")
SHARES = (0.5, 0.9)


def run(bench: Bench) -> Outcome:
    """Measure the full speed, then shares of it."""
    outcome = Outcome("latency")
    for repetition in range(bench.repetitions):
        full = measure(outcome, bench, "full speed", repetition, Plan(bench.size(10.0, 1.0), bench.size(5.0, 0.5)))
        for share in SHARES:
            rate = share * full["tasks_per_s"]
            plan = Plan(bench.length(20.0, 1.0), bench.size(5.0, 0.5), rate)
            case = f"at {share:.0%} of full speed"
            metrics = measure(outcome, bench, case, repetition, plan)
            bench.say(
                f"latency {repetition + 1}/{bench.repetitions}: {case}, {rate:,.0f}/s: p50 {metrics['p50_ms']:.1f} ms, "
                f"p99 {metrics['p99_ms']:.1f} ms"
            )
    return outcome


def measure(outcome: Outcome, bench: Bench, case: str, repetition: int, plan: Plan) -> dict[str, float]:
    """Run one flow and add its metrics; returns them."""
    with bench.database() as dsn, psycopg.connect(dsn, autocommit=True) as conn:
        metrics = figures(Flow(conn, dsn, plan).run(outcome, case, repetition), plan)
    outcome.add(case, repetition, metrics)
    return metrics
