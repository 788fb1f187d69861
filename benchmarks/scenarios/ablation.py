"""What each mechanism is worth: taken out of a worker, beside one that has it.

Timed: committed outcomes for 30 s (`--seconds`) while one producer keeps 2,000 tasks waiting, with everything on and
with one piece taken out; `last_per_s` is the mean of the last third, where what piles up shows, and `ratio_to_all`
compares that to everything on in the same repetition. For the doorbell: single enqueues with random gaps to an idle
worker, as in the scenario `wakeup`, with and without; what a ring costs the enqueuer is in the scenario `enqueue`.

Taken out, each by a replaced piece in the benchmark's own worker process (`benchmarks.ablation`): `cursor`, claims
look from the beginning each time; `claim batch`, one task a claim; `batches`, one outcome a statement and commit as
well; `uvloop`, asyncio's own loop; `asynchronous claims`, claims wait for the disk too; `doorbell`, workers only poll.

On: one real `pgq.worker.Worker` process with concurrency 50 and defaults for all else, one producer process
(`enqueue_many`, 500 a call), a fresh database each. Server, worker, producer and this harness share the machine; the
server's costs hold those of enqueueing.

Durability: the server's as in the manifest; pgq's claims commit asynchronously but where said, enqueue and settle do
not.

Checked: every task was executed once and its row is completed at its first attempt; the producer was not the one that
was waited for.
"""

from __future__ import annotations

import psycopg

from benchmarks.flow import Flow, dead_tuples
from benchmarks.flowed import CONCURRENCY, Plan, figures
from benchmarks.harness import Bench
from benchmarks.results import Outcome
from benchmarks.scenarios import wakeup

HEADLINE = ("tasks_per_s", "last_per_s", "ratio_to_all", "p50_ms")
ALL = "everything on"
FLOWS = {
    "cursor": ("cursor",),
    "claim batch": ("claim batch",),
    "batches": ("claim batch", "settle batch"),
    "uvloop": ("uvloop",),
    "asynchronous claims": ("asynchronous claims",),
}


def run(bench: Bench) -> Outcome:
    """Measure everything on, then each piece taken out, by turns."""
    outcome = Outcome("ablation")
    for repetition in range(bench.repetitions):
        control = flow(outcome, bench, ALL, repetition, 0.0)
        for name, pieces in FLOWS.items():
            if bench.wants(name):
                flow(outcome, bench, f"without {name}", repetition, control, *pieces)
        for case, without in (("idle, everything on", []), ("idle, without doorbell", ["doorbell"])):
            if bench.wants("doorbell"):
                idle(outcome, bench, case, repetition, without)
    return outcome


def flow(outcome: Outcome, bench: Bench, case: str, repetition: int, control: float, *without: str) -> float:
    """Run one flow and add its metrics; returns the rate of its last third."""
    seconds = bench.length(30.0, 1.0)
    order = {"concurrency": CONCURRENCY, "without": list(without)}
    plan = Plan(seconds, bench.size(2.0, 0.5), order=order)
    with bench.database() as dsn, psycopg.connect(dsn, autocommit=True) as conn:
        flowed = Flow(conn, dsn, plan, dead_tuples(conn)).run(outcome, case, repetition)
    last = flowed.rate(seconds * 2 / 3, seconds)
    ratio = {"ratio_to_all": last / control} if control else {}
    metrics = figures(flowed, plan)
    outcome.add(case, repetition, {"tasks_per_s": metrics["tasks_per_s"], "last_per_s": last, **ratio, **metrics})
    bench.say(f"ablation {repetition + 1}/{bench.repetitions}: {case}: {last:,.0f}/s at the end")
    return last


def idle(outcome: Outcome, bench: Bench, case: str, repetition: int, without: list[str]) -> None:
    """Enqueue to an idle worker one by one, and add the metrics."""
    with bench.database() as dsn, psycopg.connect(dsn, autocommit=True) as conn:
        metrics = wakeup.wake(outcome, conn, dsn, bench.size(300, 10), without=without)
    outcome.add(case, repetition, metrics)
    bench.say(f"ablation {repetition + 1}/{bench.repetitions}: {case}: p50 {metrics['p50_ms']:.1f} ms")
