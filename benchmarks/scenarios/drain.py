"""How fast workers empty a queue: no-op tasks by 1 and 2 processes, without history, 1 ms of waiting, CPU-bound work.

Timed (`tasks_per_s`): from just before `pgq.resume` of the queue is called, which is the start signal, until another
connection sees the last outcome committed. So the wake-up, the first claim, every handler and every durable settle
are inside. Outside: starting interpreters, connecting, registering (the workers stand ready at the paused queue), and
enqueueing (the tasks are there before, added by `enqueue_many`, 1,000 a call). The end is seen by looking at
`pgq.counts`, a few ms late; `start_ms` is the part from the signal to the first handler.

On: real `pgq.worker.Worker` processes, each with concurrency 50 and defaults for all else, uvloop where installed,
everything on (heartbeat, doorbell, upkeep, leases, deadlines). Server, workers and this harness share the machine. A
fresh database each time, never analyzed by hand. `no-op` is 60,000 of `async def noop(i)`, which notes that it ran,
history kept; `retention 0` the same in a queue that deletes what completed. `1 ms async` is 60,000 that sleep 1 ms on
the event loop, so 50 slots can start 50,000/s. `CPU-bound` is 4,000 that hash for about 1 ms in child processes, as
many as there are processors; the children are started by the first tasks, inside the timed stretch.

Durability: the server's as in the manifest (fsync and synchronous_commit on); pgq's claims choose asynchronous
commit by themselves, enqueue and settle do not.

Checked: every task was executed once, by the handlers' own notes, and every row is completed at its first attempt (or
gone, and counted as completed, at retention 0).

Beside it: `raw_sql_per_s`, the yardstick of `benchmarks.raw_sql` on the same server moments before each no-op drain,
and `ratio_to_raw_sql` of the two; `loop_per_s`, what as many bare processes do of the CPU-bound work in a loop, and
`ratio_to_loop`. `settle_batch_mean` counts the transactions that wrote outcomes; `claim_batch_mean` the other
transaction ids of the timed stretch, so a heartbeat in it makes it a little too low. `transactions_per_s` is from
pg_stat_database, read after the workers have left, so their leaving counts too. In JSON, `rate`, `raw_sql_rate` and
`ratio_to_raw_sql` beside the cases are the medians of no-op by 1 process.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from benchmarks import bare_loop, raw_sql
from benchmarks.app import QUEUE, crunch, nap, noop
from benchmarks.children import dismiss, workers
from benchmarks.harness import Bench
from benchmarks.measure import Gauge, Reading, commits, costs, peak_rss
from benchmarks.results import Outcome
from pgq.typed import Handler

HEADLINE = ("tasks_per_s", "ratio_to_raw_sql", "ratio_to_loop", "server_cpu_s_per_10k", "worker_cpu_s_per_10k")
TOP = {
    "rate": ("no-op, 1 process", "tasks_per_s"),
    "raw_sql_rate": ("no-op, 1 process", "raw_sql_per_s"),
    "ratio_to_raw_sql": ("no-op, 1 process", "ratio_to_raw_sql"),
}
CONCURRENCY = 50
STUCK = 30.0  # seconds without a single outcome

_OUTCOMES = "select coalesce(sum(completed + failed + dead + cancelled), 0)::bigint from pgq.counts"
# One row a batch, and one more whenever upkeep merges them, every ten seconds.
_SETTLES = "select coalesce(sum(n_tup_ins), 0)::bigint from pg_stat_user_tables where relid = 'pgq.counts'::regclass"
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


@dataclass(frozen=True, slots=True)
class Case:
    """Which tasks, how many of them (in a quick run as well), by how many processes, whether their history is kept."""

    task: Handler[..., Any, int] = noop
    tasks: tuple[int, int] = (60_000, 2_000)
    processes: int = 1
    keeps: bool = True


CASES = {
    "no-op, 1 process": Case(),
    "no-op, 2 processes": Case(processes=2),
    "no-op, 1 process, retention 0": Case(keeps=False),
    "no-op, max_attempts 1, 1 process": Case(noop.options(max_attempts=1)),
    "1 ms async, 1 process": Case(nap),
    "CPU-bound, 1 process and its children": Case(crunch, (4_000, 100)),
}


def run(bench: Bench) -> Outcome:
    """Measure the cases by turns, the no-op ones each beside its own yardstick."""
    outcome = Outcome("drain")
    for repetition in range(bench.repetitions):
        for name in filter(bench.wants, CASES):
            metrics = measure(outcome, bench, CASES[name], f"{name}, repetition {repetition + 1}")
            outcome.add(name, repetition, metrics)
            ratios = (f", {value:.2f} {metric}" for metric, value in metrics.items() if metric.startswith("ratio"))
            bench.say(
                f"drain {repetition + 1}/{bench.repetitions}: {name}: {metrics['tasks_per_s']:,.0f}/s{''.join(ratios)}"
            )
    return outcome


def measure(outcome: Outcome, bench: Bench, case: Case, where: str) -> dict[str, float]:
    """Run the yardstick and one drain; returns the metrics."""
    tasks = bench.size(*case.tasks)
    yardstick = {}
    if case.task is noop and case.keeps:
        with bench.database() as dsn:
            yardstick["raw_sql"] = raw_sql.rate(dsn, tasks)
    elif case.task is crunch:
        yardstick["loop"] = bare_loop.rate(bench.size(2.0, 0.2))
    with (
        bench.database() as dsn,
        psycopg.connect(dsn, autocommit=True) as conn,
        tempfile.NamedTemporaryFile() as crunched,
    ):
        if not case.keeps:
            conn.execute("update pgq.queues set retention = 0 where name = %s", (QUEUE,))
        order = {"crunched": crunched.name, "concurrency": bare_loop.CPUS} if case.task is crunch else {}
        drained = drain(conn, dsn, case.processes, tasks, case.task.enqueue_many, **order)
        check(outcome, conn, drained, tasks, where, keeps=case.keeps)
        found = figures(conn, drained, tasks)
    rate = found.pop("tasks_per_s")
    beside = {key: value for name, at in yardstick.items() for key, value in _beside(name, rate, at)}
    return {"tasks_per_s": rate, **beside, **found}


def _beside(name: str, rate: float, yardstick: float) -> list[tuple[str, float]]:
    return [(f"{name}_per_s", yardstick), (f"ratio_to_{name}", rate / yardstick)]


def drain(
    conn: psycopg.Connection, dsn: str, processes: int, tasks: int, add: Add = noop.enqueue_many, **order: Any
) -> Drained:
    """Fill the paused queue with numbered tasks, give the signal, and wait for the last outcome."""
    conn.execute("select pgq.pause(%s)", (QUEUE,))
    for first in range(0, tasks, 1_000):
        add(conn, [{"i": i} for i in range(first, min(first + 1_000, tasks))])
    with workers(conn, dsn, processes, **{"concurrency": CONCURRENCY, **order}) as crew:
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


def check(
    outcome: Outcome, conn: psycopg.Connection, drained: Drained, tasks: int, where: str, *, keeps: bool = True
) -> None:
    """Make the run invalid unless each task was executed and recorded exactly once; `keeps`: its row is there."""
    executed = Counter(i for report in drained.reports for i in report["executed"])
    doubled = sum(1 for count in executed.values() if count > 1)
    outcome.require(drained.seen.settled == tasks, f"{where}: {drained.seen.settled} of {tasks} tasks were settled")
    outcome.require(set(executed) == set(range(tasks)), f"{where}: {tasks - len(executed)} tasks never ran")
    outcome.require(doubled == 0, f"{where}: {doubled} tasks ran twice")
    if keeps:
        rows = _one(conn, "select count(*) from pgq.tasks where status = 'completed' and attempts = 1")
        outcome.require(rows == tasks, f"{where}: {rows} of {tasks} rows are completed at their first attempt")
    else:
        rows = _one(conn, "select count(*) from pgq.tasks")
        outcome.require(rows == 0, f"{where}: {rows} rows are left")


def figures(conn: psycopg.Connection, drained: Drained, tasks: int) -> dict[str, float]:
    """Return all metrics of one drain."""
    spent = drained.spent
    seconds = (drained.seen.at_ns - drained.signalled_ns) / 1e9
    settles = _one(conn, _SETTLES)
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
