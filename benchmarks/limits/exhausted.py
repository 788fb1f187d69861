"""Whether an exhausted key delays others: a crowd of its tasks stands before tasks of free keys."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from benchmarks.app import QUEUE
from benchmarks.children import Child, dismiss, until, workers
from benchmarks.harness import Bench
from benchmarks.limits import app, probes
from benchmarks.limits.probes import Probes
from benchmarks.results import Outcome
from pgq.quota import Quota

HOURLY = Quota(1, 3600.0)
DEAD = "dead"  # the tenant whose key is exhausted
CONCURRENCY = 50
FREE = 100  # tasks of free keys behind the crowd
PATIENCE = 60.0
LOOK = 10  # probes between two looks whether all are parked
_RAN = "select count(*) from pgq.tasks where queue = %s and status = 'completed'"
_DUE = """
select exists (
  select from pgq.tasks
  where queue = %s
    and status in ('pending', 'processing')
    and scheduled_at <= clock_timestamp()
    and limit_keys = array[%s]
)
"""


@dataclass(frozen=True, slots=True)
class Site:
    """A database with a worker whose tenants may each start one task an hour; that of `DEAD` has started."""

    conn: psycopg.Connection
    crew: list[Child]


@contextmanager
def site(bench: Bench) -> Iterator[Site]:
    """Yield a worker that has nothing to do."""
    with bench.database() as dsn, psycopg.connect(dsn, autocommit=True) as conn:
        app.impose(conn, tenant=HOURLY)
        with workers(conn, dsn, 1, concurrency=CONCURRENCY, **app.order(bench.redis_url)) as crew:
            app.keyed.enqueue(conn, i=-1, tenant=DEAD)
            until(lambda: ran(conn) == 1, PATIENCE)
            yield Site(conn, crew)


def crowd_before_few(outcome: Outcome, bench: Bench, repetition: int) -> None:
    """Let a paused queue fill with tasks of the dead key, then some of free keys; time those from the resume on."""
    crowd = bench.size(10_000, 1_000)
    case = f"{FREE} free behind {crowd:,} of an exhausted key"
    with site(bench) as at:
        at.conn.execute("select pgq.pause(%s)", (QUEUE,))
        app.keyed.copy(at.conn, dead(crowd))
        app.keyed.enqueue_many(at.conn, [{"i": i, "tenant": f"free-{i}"} for i in range(FREE)])
        signalled = time.monotonic_ns()
        at.conn.execute("select pgq.resume(%s)", (QUEUE,))
        wait_for(outcome, case, at.conn, FREE + 1)
        reports = dismiss(at.crew)
    check(outcome, case, reports, set(range(FREE)))
    waits = sorted((start - signalled) / 1e9 for i, start in probes.starts(reports).items() if i >= 0)
    if waits:
        metrics = {"first_free_start_s": waits[0], "last_free_start_s": waits[-1]}
        outcome.add(case, repetition, metrics)
        bench.say(f"limits: {case}: the last started after {waits[-1]:.2f} s")


def behind_very_many(outcome: Outcome, bench: Bench, repetition: int) -> None:
    """Time single tasks of free keys with nothing else in the queue, while a crowd is parked, and behind it."""
    times = bench.size(200, 20)
    crowd = bench.size(1_000_000, 20_000)
    where = f"{crowd:,} of an exhausted key"
    with site(bench) as at:
        sent = Probes(at.conn)
        empty = sent.send(times)
        wait_for(outcome, where, at.conn, times + 1)  # or the last of them would wait for the resume
        at.conn.execute("select pgq.pause(%s)", (QUEUE,))
        app.keyed.copy(at.conn, dead(crowd))
        began = time.monotonic()
        at.conn.execute("select pgq.resume(%s)", (QUEUE,))
        during = while_due(outcome, where, at.conn, sent, crowd)
        took = time.monotonic() - began
        behind = sent.send(times)
        wait_for(outcome, where, at.conn, len(sent.called) + 1)
        reports = dismiss(at.crew)
    check(outcome, where, reports, set(sent.called))
    outcome.add(where, repetition, {"parking_s": took, "parked_per_s": crowd / took})
    groups = {"in an empty queue": empty, f"while {crowd:,} are parked": during, f"behind {crowd:,} parked": behind}
    compare(outcome, bench, repetition, {name: sent.waits(group, reports) for name, group in groups.items()})
    bench.say(f"limits: {where}: parked in {took:.1f} s, {crowd / took:,.0f}/s")


def compare(outcome: Outcome, bench: Bench, repetition: int, waits: Mapping[str, Sequence[float]]) -> None:
    """Take a sample of each group of waits (milliseconds), beside the first group's."""
    found = {name: probes.percentiles(group) for name, group in waits.items() if group}
    for name, metrics in found.items():
        ratio = metrics["p99_ms"] / next(iter(found.values()))["p99_ms"]
        outcome.add(f"single free tasks {name}", repetition, {**metrics, "p99_ratio_to_empty": ratio})
        bench.say(f"limits: single free tasks {name}: p50 {metrics['p50_ms']:.2f} ms, p99 {metrics['p99_ms']:.2f} ms")


def while_due(outcome: Outcome, where: str, conn: psycopg.Connection, sent: Probes, crowd: int) -> list[int]:
    """Send single tasks until no task of the dead key is due any more; returns their numbers."""
    numbers: list[int] = []
    patience = time.monotonic() + PATIENCE + crowd / 1_000
    while time.monotonic() < patience:
        numbers += sent.send(LOOK)
        ((due,),) = conn.execute(_DUE, (QUEUE, f"{app.KIND}:{DEAD}")).fetchall()
        if not due:
            return numbers
    outcome.problems.append(f"{where}: some were still due after {PATIENCE + crowd / 1_000:g} s")
    return numbers


def dead(crowd: int) -> Iterator[dict[str, Any]]:
    """Yield the payloads of tasks of the dead key."""
    return ({"i": -2, "tenant": DEAD} for _ in range(crowd))


def ran(conn: psycopg.Connection) -> int:
    """Return how many tasks were completed."""
    ((count,),) = conn.execute(_RAN, (QUEUE,)).fetchall()
    return int(count)


def wait_for(outcome: Outcome, where: str, conn: psycopg.Connection, tasks: int) -> None:
    """Wait until so many tasks were completed; the run is invalid where they are not."""
    try:
        until(lambda: ran(conn) >= tasks, PATIENCE)
    except TimeoutError:
        outcome.problems.append(f"{where}: {ran(conn)} of {tasks} tasks were completed")


def check(outcome: Outcome, where: str, reports: list[dict[str, list[int]]], expected: set[int]) -> None:
    """Make the run invalid unless each free task ran once, and of the dead key none but the one that exhausted it."""
    executed = [i for report in reports for i in report["executed"]]
    outcome.require(executed.count(-1) == 1 and -2 not in executed, f"{where}: the exhausted key was overrun")
    free = sorted(i for i in executed if i >= 0)
    outcome.require(free == sorted(expected), f"{where}: not every free task was executed exactly once")
