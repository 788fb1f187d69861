"""How long each view takes: at 10M settled tasks and 1M that wait, while 2,000 tasks a second come and go.

Timed: each view of `sql/views` and `sql/reports` is read whole, and `pgq.explain` asked for a task, 60 times a
repetition, by turns with the others, on one connection; `p50_ms`, `p95_ms` and `max_ms` are from sending the statement
to the last row at the client, as text. `first_ms` is the median of ten sessions that ask for the view first of all:
their server process has yet to read the catalog and to plan. Meanwhile 2,000 tasks/s (`--offered`) are enqueued and run
by one real `pgq.worker.Worker` with concurrency 50 and defaults for all else; its upkeep takes samples and merges
counts as it always does.

On: the 10M are of the same queue, settled over the seven days before today, as in `history`. The 1M wait in a queue of
their own that is paused, half of them due, in three priorities; each of ten more queues has 100. All put there by
`insert … select`, then vacuumed and analyzed once.

`sampled_s` is the time upkeep took to count the million once, `sampled_every_s` how long it was between two of its
counts: no more than one part in a hundred.

Durability: the server's as in the manifest; pgq's claims commit asynchronously, enqueue and settle do not.

Checked: everything that ran ran once and is completed at its first attempt; the tasks beside the views were all
offered, and 98 % of them had started at the end; the million still waits, and what `queue_stats` says of it is at most
1 % off.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import Any

import psycopg

from benchmarks.harness import Bench
from benchmarks.results import Outcome
from benchmarks.scenarios.history import DAYS, LOAD, percentiles, settle_past
from benchmarks.stand import Stand, stand
from pgq import statements

HEADLINE = ("p50_ms", "p95_ms")
FRESH = 10  # sessions that ask for one view, and end
WAITING = """
insert into pgq.tasks (queue, task, payload, timeout, max_attempts, priority, scheduled_at)
select %(queue)s, 'wait', '{}', 60, 5, 4 + i %% 3,
       clock_timestamp() + case when i %% 2 = 0 then -random() else random() end * interval '1 hour'
from generate_series(1, %(tasks)s) as i
"""
ASKED = (
    "select pgq.explain(id) from (select id from pgq.tasks where queue = 'waiting' and status = 'pending' limit 1) as t"
)


@dataclass(frozen=True, slots=True)
class Size:
    """Settled tasks, tasks that wait in the big queue and in each small one, and calls of each view."""

    settled: int
    waiting: int
    few: int
    calls: int


FULL = Size(10_000_000, 1_000_000, 100, 60)
QUICK = Size(70_000, 5_000, 10, 5)


def run(bench: Bench) -> Outcome:
    """Fill one stand and read its views."""
    outcome = Outcome("views")
    size = bench.size(FULL, QUICK)
    load = bench.offered or bench.size(LOAD, 200.0)
    with stand(bench, bench.repetitions * (2_000_000 + size.calls * 20_000)) as found:
        fill(found, size)
        bench.say("views: filled")
        for repetition in range(bench.repetitions):
            for view, metrics in read(outcome, found, size, load).items():
                outcome.add(view, repetition, metrics)
                bench.say(f"views: {view}: p50 {metrics['p50_ms']:.2f}, p95 {metrics['p95_ms']:.2f} ms")
            outcome.add("the million", repetition, sampled(outcome, found, size))
        found.check(outcome, "views")
    return outcome


def fill(found: Stand, size: Size) -> None:
    """Put the history and what waits into the table."""
    settle_past(found.conn, size.settled // DAYS)
    queues = {"waiting": size.waiting, **{f"queue-{number}": size.few for number in range(10)}}
    for queue, tasks in queues.items():
        found.conn.execute("insert into pgq.queues (name, paused_at) values (%s, clock_timestamp())", (queue,))
        found.conn.execute(WAITING, {"queue": queue, "tasks": tasks})
    found.tidy()


def read(outcome: Outcome, found: Stand, size: Size, load: float) -> dict[str, dict[str, float]]:
    """Read each view many times while tasks come and go; returns the metrics of each."""
    names = [file.stem for folder in ("views", "reports") for file in statements.files(folder)]
    questions = {**{name: f"select * from pgq.{name}" for name in names}, "explain": ASKED}  # noqa: S608 - our own names
    took: dict[str, list[float]] = {name: [] for name in questions}
    with found.offered(load) as offered:
        time.sleep(size.calls / 6)  # the first samples, and dead rows as there always are
        for _ in range(size.calls):
            for name, question in questions.items():
                took[name].append(ask(found.conn, question))
            time.sleep(0.5)
        first = {name: median(fresh(found, question) for _ in range(FRESH)) for name, question in questions.items()}
        outcome.require(offered.sent >= 0.98 * offered.due, f"producer-bound, {offered.sent} tasks were offered")
        outcome.require(
            offered.started >= 0.98 * offered.sent - 100, f"{offered.started} of {offered.sent} tasks started"
        )
    return {name: {**percentiles(times), "first_ms": first[name]} for name, times in took.items()}


def ask(conn: Any, question: str) -> float:
    """Read a whole answer; returns the milliseconds that took."""
    began = time.monotonic()
    conn.execute(question)  # all its rows are here then; what they become in Python is not the view's time
    return (time.monotonic() - began) * 1_000


def fresh(found: Stand, question: str) -> float:
    """Ask in a session of its own; returns the milliseconds of the question, without those of connecting."""
    with psycopg.connect(found.dsn, autocommit=True) as conn:
        return ask(conn, question)


def sampled(outcome: Outcome, found: Stand, size: Size) -> dict[str, float]:
    """Return what counting the big queue costs, and compare what is said of it with what is there."""
    ((said,),) = found.conn.execute("select pending from pgq.queue_stats where queue = 'waiting'").fetchall()
    outcome.require(abs(said - size.waiting) <= size.waiting / 100, f"{said} of {size.waiting} are said to wait")
    query = "select count(*) from pgq.tasks where queue = 'waiting' and status = 'pending'"
    ((there,),) = found.conn.execute(query).fetchall()
    outcome.require(there == size.waiting, f"{there} of {size.waiting} wait")
    ((seconds, every),) = found.conn.execute(
        "select avg(took)::double precision, coalesce(extract(epoch from max(seen_at) - min(seen_at))"
        " / nullif(count(*) - 1, 0), 0)::double precision from pgq.depths where queue = 'waiting'"
    ).fetchall()
    return {"sampled_s": seconds, "sampled_every_s": every}
