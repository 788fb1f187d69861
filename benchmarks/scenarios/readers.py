"""Whether reports over the table slow the queue: four REPEATABLE READ scanners in a loop, against none.

Timed: committed outcomes while four processes run three reports over all of `pgq.tasks` in one transaction, again and
again, for 30 s (`--seconds`); and without them, and with the same reports over another table, which take the
processors' time as well but touch nothing of ours. `ratio_to_none` compares to the run without in the same
repetition. At full speed one producer keeps 2,000 tasks waiting; at a fixed load (2,000 tasks/s, or `--offered`) tasks
come whether the worker keeps up or not, and `served_share` of them was settled at the end. Waits, `p50_ms` and
`p99_ms`, are from just before the enqueue call to the first line of the handler. `reports` counts the transactions.

On: one real `pgq.worker.Worker` process with concurrency 50 and defaults for all else, one producer process, a fresh
database each with 300,000 settled tasks; the other table is a copy of those. Everything shares the machine, scanners
and their parallel workers too: at full speed they compete for processors that are all busy already.

Durability: the server's as in the manifest; pgq's claims commit asynchronously, enqueue and settle do not.

Checked: every task was executed once and its row is completed at its first attempt; every scanner ran its reports; the
producer was not the one that was waited for, and offered 98 %.
"""

from __future__ import annotations

import psycopg

from benchmarks.app import QUEUE
from benchmarks.children import children, dismiss
from benchmarks.flow import Flow
from benchmarks.flowed import Plan, figures
from benchmarks.harness import Bench
from benchmarks.results import Outcome

HEADLINE = ("tasks_per_s", "ratio_to_none", "served_share", "p99_ms")
READERS = 4
TABLES = {"none": "", "4 scanners": "pgq.tasks", "4 scanners elsewhere": "public.elsewhere"}
_HISTORY = """
insert into pgq.tasks (queue, task, payload, timeout, max_attempts, status, attempts, worker_id,
                       started_at, completed_at)
select %s, 'count', json_build_object('i', i), 60, 5, 'completed', 1, 0, clock_timestamp(), clock_timestamp()
from generate_series(1, %s) as i
"""
_ELSEWHERE = "create table elsewhere as select * from pgq.tasks"


def run(bench: Bench) -> Outcome:
    """Measure without and with scanners by turns, at full speed and at a fixed load."""
    outcome = Outcome("readers")
    load = bench.offered or bench.size(2_000.0, 200.0)
    for repetition in range(bench.repetitions):
        for pace, rate in (("full speed", 0.0), (f"{load:,.0f}/s offered", load)):
            control = 0.0
            for name, table in TABLES.items():
                case = f"{pace}, {name}"
                if not bench.wants(case):
                    continue
                metrics = measure(outcome, bench, case, repetition, rate, table)
                control = control or metrics["tasks_per_s"]
                outcome.add(case, repetition, {"ratio_to_none": metrics["tasks_per_s"] / control, **metrics})
                bench.say(
                    f"readers {repetition + 1}/{bench.repetitions}: {case}: {metrics['tasks_per_s']:,.0f}/s, "
                    f"{metrics['tasks_per_s'] / control:.2f} of none, {metrics['reports']:.0f} reports"
                )
    return outcome


def measure(outcome: Outcome, bench: Bench, case: str, repetition: int, rate: float, table: str) -> dict[str, float]:
    """Run one flow beside scanners of a table, none for ``""``; returns its metrics."""
    plan = Plan(bench.length(30.0, 1.0), bench.size(5.0, 0.5), rate)
    with bench.database() as dsn, psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(_HISTORY, (QUEUE, bench.size(300_000, 3_000)))
        conn.execute(_ELSEWHERE)
        conn.execute("vacuum (analyze)")
        orders = [{"dsn": dsn, "table": table}] * READERS if table else []
        with children("benchmarks.reader", orders) as crew:
            for child in crew:
                child.hear()
            flowed = Flow(conn, dsn, plan).run(outcome, case, repetition)
            reports = dismiss(crew)
    outcome.require(all(reports), f"{case}: a scanner ran no report")
    return {**figures(flowed, plan), "reports": float(sum(reports))}
