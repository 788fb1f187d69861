"""Whether history slows the queue: 20M settled tasks of the days before, against none; and how long each view takes.

Timed: bursts of 15,000 tasks by one worker at 20,000 that wait, each from just before `pgq.resume` until another
connection sees that many outcomes; both histories take turns, ten times a repetition. `tasks_per_s` is the median
burst, `slowest_per_s` the least; `ratio_to_none` compares the median to that without history in the same repetition.
Each view of `sql/views` and `sql/reports` is read whole 50 times, by turns with the others, while 2,000 tasks/s
(`--offered`) are enqueued and run; `p50_ms` and `p95_ms` are from sending `select *` to the last row at the client,
as text.

On: one real `pgq.worker.Worker` process per history with concurrency 50 and defaults for all else, each with a
database of its own on the same server. The history is of the same queue: 20M completed tasks over the seven days
before today, 0.01 % of them dead instead, put there by `insert … select`; its days are sealed, and 10,080 rows of
`pgq.counts` tell of them, one a minute. Then the table is vacuumed and analyzed once, as autovacuum would have done in
those days, and a checkpoint writes it to disk.

Durability: the server's as in the manifest; pgq's claims commit asynchronously, enqueue and settle do not.

Checked: everything that ran ran once and is completed at its first attempt; the history is whole at the end; the
tasks that run beside the views were all offered, and 98 % of them had started at the end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import quantiles
from typing import Any

import psycopg
from psycopg import sql

from benchmarks.app import QUEUE
from benchmarks.harness import Bench
from benchmarks.results import Outcome
from benchmarks.stand import Burst, Stand, figures, stand
from pgq import statements

HEADLINE = ("tasks_per_s", "ratio_to_none", "p50_ms", "p95_ms")
DAYS = 7
WAITING = 20_000
LOAD = 2_000.0  # tasks a second beside the views
_PAST = """
insert into pgq.tasks (queue, task, payload, timeout, max_attempts, status, attempts, worker_id,
                       scheduled_at, created_at, started_at, completed_at)
select %(queue)s, 'count', json_build_object('i', i), 60, 5,
       case when i %% 10000 = 0 then 'dead' else 'completed' end::pgq.status, 1, 0,
       due, due, due + interval '2 milliseconds', due + interval '5 milliseconds'
from (
  select i, %(day)s::timestamptz + i * (interval '86399 seconds' / %(tasks)s) as due
  from generate_series(1, %(tasks)s) as i
) as past
"""
_COUNTS = """
insert into pgq.counts (queue, minute, completed, dead, merged)
select %(queue)s, %(day)s::timestamptz + i * interval '1 minute', %(tasks)s / 1440, %(tasks)s / 14400000, true
from generate_series(0, 1439) as i
"""
_WHOLE = "select count(*) from pgq.tasks where worker_id = 0 and status in ('completed', 'dead')"


@dataclass(frozen=True, slots=True)
class Size:
    """The settled tasks of each history, the first of which is none; how often, and how many tasks, a burst; calls."""

    histories: dict[str, int]
    waiting: int
    bursts: int
    tasks: int
    calls: int


FULL = Size({"no history": 0, "20M settled": 20_000_000}, WAITING, 10, 15_000, 50)
QUICK = Size({"no history": 0, "20K settled": 20_000}, 2_000, 2, 1_000, 5)


def run(bench: Bench) -> Outcome:
    """Fill one stand per history; give them bursts by turns, then read the views."""
    outcome = Outcome("history")
    size = bench.size(FULL, QUICK)
    with ExitStack() as stack:
        stands = {name: stack.enter_context(settled(bench, name, size)) for name in size.histories}
        for repetition in range(bench.repetitions):
            drain(outcome, bench, repetition, stands, size)
            for name, found in stands.items():
                for view, metrics in read_views(outcome, bench, found, size, name).items():
                    outcome.add(f"{view}, {name}", repetition, metrics)
                    bench.say(f"history: {name}: {view}: p50 {metrics['p50_ms']:.2f}, p95 {metrics['p95_ms']:.2f} ms")
                found.fill(size.waiting)
        for name, found in stands.items():
            found.check(outcome, name)
            ((rows,),) = found.conn.execute(_WHOLE).fetchall()
            outcome.require(rows == size.histories[name] // DAYS * DAYS, f"{name}: {rows} rows of it are left")
    return outcome


@contextmanager
def settled(bench: Bench, name: str, size: Size) -> Iterator[Stand]:
    """Yield a stand with a history and tasks that wait."""
    with stand(bench, bench.repetitions * (size.bursts * 4 * size.tasks + 1_000_000)) as found:
        if size.histories[name]:
            settle_past(found.conn, size.histories[name] // DAYS)
        found.fill(size.waiting)
        found.tidy()
        bench.say(f"history: {name}: filled")
        yield found


def settle_past(conn: psycopg.Connection, tasks: int) -> None:
    """Put so many settled tasks into each of the days before today, tell the counts, and seal those days."""
    for ago in range(DAYS, 0, -1):
        day = (datetime.now(UTC) - timedelta(days=ago)).replace(hour=0, minute=0, second=0, microsecond=0)
        conn.execute("select pgq.make_partition(%s)", (day.date(),))
        for query in (_PAST, _COUNTS):
            conn.execute(query, {"queue": QUEUE, "day": day, "tasks": tasks})
        conn.execute("select pgq.seal_partition(%s)", (f"tasks_{day:%Y%m%d}",))


def drain(outcome: Outcome, bench: Bench, repetition: int, stands: dict[str, Stand], size: Size) -> None:
    """Give bursts by turns, and compare."""
    bursts: dict[str, list[Burst]] = {name: [] for name in stands}
    for _ in range(size.bursts):
        for name, found in stands.items():
            bursts[name].append(found.burst(size.tasks))
            found.fill(bursts[name][-1].tasks)
    metrics = {name: figures(found, bursts[name]) for name, found in stands.items()}
    control = next(iter(metrics.values()))["tasks_per_s"]
    for name, found_metrics in metrics.items():
        ratio = found_metrics["tasks_per_s"] / control
        outcome.add(name, repetition, {"ratio_to_none": ratio, **found_metrics})
        bench.say(f"history {repetition + 1}: {name}: {found_metrics['tasks_per_s']:,.0f}/s, {ratio:.2f} of none")


def read_views(outcome: Outcome, bench: Bench, found: Stand, size: Size, name: str) -> dict[str, dict[str, float]]:
    """Read each view many times while tasks come and go; returns the metrics of each."""
    load = bench.offered or bench.size(LOAD, 200.0)
    took: dict[str, list[float]] = {
        path.stem: [] for folder in ("views", "reports") for path in statements.files(folder)
    }
    with found.offered(load) as offered:
        for _ in range(size.calls):
            for view, times in took.items():
                times.append(call(found.conn, view))
            time.sleep(0.1)
        outcome.require(
            offered.sent >= 0.98 * offered.due, f"{name}: producer-bound, {offered.sent} tasks were offered"
        )
        outcome.require(
            offered.started >= 0.98 * offered.sent - 100, f"{name}: {offered.started} of {offered.sent} tasks started"
        )
    return {view: percentiles(times) for view, times in took.items()}


def call(conn: psycopg.Connection, view: str) -> float:
    """Read a view whole; returns the milliseconds that took."""
    query: Any = sql.SQL("select * from {}").format(sql.Identifier("pgq", view))
    began = time.monotonic()
    conn.execute(query)  # all its rows are here then; what they become in Python is not the view's time
    return (time.monotonic() - began) * 1_000


def percentiles(times: list[float]) -> dict[str, float]:
    """Return the percentiles of times in milliseconds."""
    cuts = quantiles(times, n=100, method="inclusive")
    return {"p50_ms": cuts[49], "p95_ms": cuts[94], "max_ms": max(times)}
