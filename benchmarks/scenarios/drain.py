"""How fast workers empty a queue of no-op tasks; 60,000 tasks, 1 and 2 worker processes, history kept.

Timed (`tasks_per_s`): from just before `pgq.resume` of the queue is called, which is the start signal, until another
connection sees the last outcome committed. So the wake-up, the first claim, every handler and every durable settle
are inside. Outside: starting interpreters, connecting, registering (the workers stand ready at the paused queue), and
enqueueing (the tasks are there before, added by `enqueue_many`, 1,000 a call). The end is seen by looking at
`pgq.counts`, a few ms late; `start_ms` is the part from the signal to the first handler.

On: real `pgq.worker.Worker` processes, each with concurrency 50 and defaults for all else, uvloop where installed,
everything on (heartbeat, doorbell, upkeep, leases, deadlines). The handler is `async def noop(i)`: it notes that it
ran. Server, workers and this harness share the machine. A fresh database each time, never analyzed by hand.

Durability: the server's as in the manifest (fsync and synchronous_commit on); pgq's claims choose asynchronous
commit by themselves, enqueue and settle do not.

Checked: every task was executed once, by the handlers' own notes, and every row is completed at its first attempt.

Beside it: `raw_sql_per_s`, the yardstick of `benchmarks.raw_sql` on the same server moments before each drain, and
`ratio_to_raw_sql` of the two. `settle_batch_mean` counts the transactions that wrote the final rows;
`claim_batch_mean` the other transaction ids of the timed stretch, so a heartbeat in it makes it a little too low.
`transactions_per_s` is from pg_stat_database, read after the workers have left, so their leaving counts too.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from benchmarks import raw_sql
from benchmarks.app import QUEUE, noop
from benchmarks.children import dismiss, workers
from benchmarks.harness import Bench
from benchmarks.measure import Gauge, Reading, commits, costs, peak_rss
from benchmarks.results import Outcome

HEADLINE = ("tasks_per_s", "ratio_to_raw_sql", "server_cpu_s_per_10k", "worker_cpu_s_per_10k")
CONCURRENCY = 50
PROCESSES = (1, 2)
STUCK = 30.0  # seconds without a single outcome

_OUTCOMES = "select coalesce(sum(completed + failed + dead + cancelled), 0)::bigint from pgq.counts"
Add = Callable[[psycopg.Connection, list[dict[str, Any]]], object]


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen from outside: how many outcomes, when (nanoseconds), and how often it was looked."""

    settled: int
    at_ns: int
    polls: int


@dataclass(frozen=True, slots=True)
class Drained:
    """One drain: when it was signalled (nanoseconds), what was seen, what it cost, and what the workers say."""

    signalled_ns: int
    seen: Seen
    spent: Reading
    commits: int
    rss: float
    reports: Sequence[dict[str, list[int]]]


def run(bench: Bench) -> Outcome:
    """Measure 1 and 2 worker processes by turns, each beside its own yardstick."""
    outcome = Outcome("drain")
    for repetition in range(bench.repetitions):
        for processes in PROCESSES:
            case = f"{processes} process{'es' if processes > 1 else ''}"
            metrics = measure(outcome, bench, processes, f"{case}, repetition {repetition + 1}")
            outcome.add(case, repetition, metrics)
            bench.say(
                f"drain {repetition + 1}/{bench.repetitions}: {case}: {metrics['tasks_per_s']:,.0f}/s, "
                f"{metrics['ratio_to_raw_sql']:.2f} of raw SQL"
            )
    return outcome


def measure(outcome: Outcome, bench: Bench, processes: int, where: str) -> dict[str, float]:
    """Run the yardstick and one drain; returns the metrics."""
    tasks = bench.size(60_000, 2_000)
    with bench.database() as dsn:
        raw = raw_sql.rate(dsn, tasks)
    with bench.database() as dsn, psycopg.connect(dsn, autocommit=True) as conn:
        drained = drain(conn, dsn, processes, tasks)
        check(outcome, conn, drained, tasks, where)
        found = figures(conn, drained, tasks)
        rate = found.pop("tasks_per_s")
        return {"tasks_per_s": rate, "raw_sql_per_s": raw, "ratio_to_raw_sql": rate / raw, **found}


def drain(
    conn: psycopg.Connection, dsn: str, processes: int, tasks: int, add: Add = noop.enqueue_many, **order: Any
) -> Drained:
    """Fill the paused queue with numbered tasks, give the signal, and wait for the last outcome."""
    conn.execute("select pgq.pause(%s)", (QUEUE,))
    for first in range(0, tasks, 1_000):
        add(conn, [{"i": i} for i in range(first, min(first + 1_000, tasks))])
    with workers(conn, dsn, processes, concurrency=CONCURRENCY, **order) as crew:
        gauge = Gauge(conn, [child.pid for child in crew])
        commits_before = commits(conn)
        before, signalled = gauge.read(), time.monotonic_ns()
        conn.execute("select pgq.resume(%s)", (QUEUE,))
        seen = wait_for(conn, tasks)
        spent = gauge.read() - before
        rss = max(peak_rss(child.pid) for child in crew)
        reports = dismiss(crew)
    return Drained(signalled, seen, spent, commits(conn) - commits_before - seen.polls, rss, reports)


def wait_for(conn: psycopg.Connection, tasks: int) -> Seen:
    """Wait until so many outcomes are committed, or none comes any more.

    Looks rarely while much is left, so that looking costs the run next to nothing.
    """
    began = moved = time.monotonic_ns()
    settled = polls = 0
    while True:
        ((found,),) = conn.execute(_OUTCOMES, prepare=True).fetchall()
        now, polls = time.monotonic_ns(), polls + 1
        moved = now if found > settled else moved
        settled = found
        if settled >= tasks or now > moved + STUCK * 1e9:
            return Seen(settled, now, polls)
        left = (tasks - settled) * (now - began) / 1e9 / settled if settled else 0.02
        time.sleep(min(max(left / 2, 0.004), 0.03))


def check(outcome: Outcome, conn: psycopg.Connection, drained: Drained, tasks: int, where: str) -> None:
    """Make the run invalid unless each task was executed and recorded exactly once."""
    executed = Counter(i for report in drained.reports for i in report["executed"])
    doubled = sum(1 for count in executed.values() if count > 1)
    outcome.require(drained.seen.settled == tasks, f"{where}: {drained.seen.settled} of {tasks} tasks were settled")
    outcome.require(set(executed) == set(range(tasks)), f"{where}: {tasks - len(executed)} tasks never ran")
    outcome.require(doubled == 0, f"{where}: {doubled} tasks ran twice")
    rows = _one(conn, "select count(*) from pgq.tasks where status = 'completed' and attempts = 1")
    outcome.require(rows == tasks, f"{where}: {rows} of {tasks} rows are completed at their first attempt")


def figures(conn: psycopg.Connection, drained: Drained, tasks: int) -> dict[str, float]:
    """Return all metrics of one drain."""
    spent = drained.spent
    seconds = (drained.seen.at_ns - drained.signalled_ns) / 1e9
    settles = _one(conn, "select count(distinct xmin::text) from pgq.tasks where status = 'completed'")
    starts = [report["started_at"][0] for report in drained.reports if report["started_at"]]
    return {
        "tasks_per_s": drained.seen.settled / seconds,
        "start_ms": (min(starts, default=drained.seen.at_ns) - drained.signalled_ns) / 1e6,
        "transactions_per_s": drained.commits / seconds,
        "claim_batch_mean": tasks / max(spent.xids - settles, 1),
        "settle_batch_mean": tasks / max(settles, 1),
        **costs(spent, tasks, "worker"),
        "worker_rss_mb": drained.rss,
    }


def _one(conn: psycopg.Connection, query: Any) -> int:
    ((value,),) = conn.execute(query).fetchall()
    return int(value)
