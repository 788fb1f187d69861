"""Whether many workers hinder each other: a no-op drain by 1 to 64 worker processes, each with 8 slots.

Timed: as in the scenario `drain`: from just before `pgq.resume` until another connection sees the last of 300,000
outcomes. `ratio_to_peak` compares each number of processes to the best of the same repetition.

On: real `pgq.worker.Worker` processes with concurrency 8 and defaults for all else, each of them one claimer with five
connections, all standing ready at the paused queue; a fresh database each. Numbers that the server has no connections
for are left out, and said. All share the machine, so from a few processes on its processors are the limit.

Durability: the server's as in the manifest; pgq's claims commit asynchronously, enqueue and settle do not.

Checked: every task was executed once, by the handlers' own notes, and every row is completed at its first attempt.
"""

from __future__ import annotations

import psycopg

from benchmarks.harness import Bench
from benchmarks.results import Outcome
from benchmarks.scenarios import drain

HEADLINE = ("tasks_per_s", "ratio_to_peak", "server_cpu_s_per_10k", "worker_cpu_s_per_10k")
COUNTS = (1, 2, 4, 8, 16, 32, 64)
SLOTS = 8
CONNECTIONS = 5  # of a worker
OTHERS = 20  # connections for everything else


def run(bench: Bench) -> Outcome:
    """Measure each number of processes by turns."""
    outcome = Outcome("workers")
    for repetition in range(bench.repetitions):
        found: dict[str, dict[str, float]] = {}
        for count in counts(bench):
            case = f"{count} process{'es' if count > 1 else ''}"
            found[case] = measure(outcome, bench, count, f"{case}, repetition {repetition + 1}")
            bench.say(f"workers {repetition + 1}/{bench.repetitions}: {case}: {found[case]['tasks_per_s']:,.0f}/s")
        peak = max(metrics["tasks_per_s"] for metrics in found.values())
        for case, metrics in found.items():
            ratio = metrics["tasks_per_s"] / peak
            outcome.add(case, repetition, {"tasks_per_s": metrics["tasks_per_s"], "ratio_to_peak": ratio, **metrics})
    return outcome


def counts(bench: Bench) -> list[int]:
    """Return the numbers of processes that the server has connections for."""
    with psycopg.connect(bench.dsn) as conn:
        ((most,),) = conn.execute("select current_setting('max_connections')::integer").fetchall()
    wanted = bench.size(COUNTS, (1, 2))
    fitting = [count for count in wanted if count * CONNECTIONS + OTHERS <= most]
    if len(fitting) < len(wanted):
        bench.say(f"workers: max_connections = {most} leaves out more than {fitting[-1]} processes")
    return fitting


def measure(outcome: Outcome, bench: Bench, processes: int, where: str) -> dict[str, float]:
    """Drain once; returns the metrics."""
    tasks = bench.size(300_000, 1_000)
    with bench.database() as dsn, psycopg.connect(dsn, autocommit=True) as conn:
        drained = drain.drain(conn, dsn, processes, tasks, concurrency=SLOTS)
        drain.check(outcome, conn, drained, tasks, where)
        return drain.figures(conn, drained, tasks)
