"""How a supervisor with `--processes 1..4` follows a burst: 20,000 tasks at once, then none, watched until it is quiet.

Timed: `grows_s` is from the commit of the burst until a second process is registered, `full_s` until all four are;
`drain_s` until the last outcome is committed, `back_s` from then until one process is left. The series has the depth
(tasks waiting), the wait (seconds the oldest has been due) and the processes, twice a second.

On: `pgq worker benchmarks.app:app --processes 1..4`, 20 slots a process, each task waits 20 ms as for an answer over
the network: one process could do 1,000 a second. All other settings are the defaults.

Durability: the server's as in the manifest; pgq's claims commit asynchronously, enqueue and settle do not.

Checked: every task was executed once, by the handlers' own notes in files, and its row is completed at its first
attempt; the second process came within 5 s, the way back took at most 60 s.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from benchmarks.app import NAPS, QUEUE, app, rest
from benchmarks.children import Child, until
from benchmarks.harness import Bench
from benchmarks.results import Moment, Outcome

HEADLINE = ("grows_s", "full_s", "drain_s", "back_s")
SPAN = "1..4"
MOST = 4
PATIENCE = 120.0  # seconds for each part
_LOOK = """
select (select count(*) from pgq.workers where not stopping),
       count(*),
       coalesce(extract(epoch from clock_timestamp() - min(scheduled_at)), 0)::double precision
from pgq.tasks where queue = %s and status = 'pending'
"""
_LEFT = "select count(*) from pgq.tasks where queue = %s and status in ('pending', 'processing')"
_DONE = "select count(*) from pgq.tasks where queue = %s and status = 'completed' and attempts = 1"


@dataclass(slots=True)
class Seen:
    """What was seen of one burst, in seconds after its commit."""

    began: float
    moments: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    grew: float | None = None
    full: float | None = None

    def look(self, conn: psycopg.Connection) -> int:
        """Look once; returns the number of processes."""
        ((processes, depth, wait),) = conn.execute(_LOOK, (QUEUE,)).fetchall()
        at = time.monotonic() - self.began
        if not self.moments or at >= self.moments[-1][0] + 0.5:
            self.moments.append((at, {"depth": float(depth), "wait_s": wait, "processes": float(processes)}))
        if processes > 1 and self.grew is None:
            self.grew = at
        if processes >= MOST and self.full is None:
            self.full = at
        return int(processes)


def run(bench: Bench) -> Outcome:
    """Measure one burst per repetition."""
    outcome = Outcome("autoscale")
    tasks = bench.size(20_000, 4_000)
    case = f"{tasks:,} tasks, --processes {SPAN}"
    for repetition in range(bench.repetitions):
        with bench.database() as dsn, tempfile.TemporaryDirectory() as place:
            metrics = follow(outcome, dsn, Path(place), tasks, (case, repetition))
        outcome.add(case, repetition, metrics)
        figures = ", ".join(f"{name} {value:.1f}" for name, value in metrics.items())
        bench.say(f"autoscale {repetition + 1}/{bench.repetitions}: {figures}")
    return outcome


def follow(outcome: Outcome, dsn: str, place: Path, tasks: int, named: tuple[str, int]) -> dict[str, float]:
    """Watch one burst come and go; returns the metrics."""
    with psycopg.connect(dsn, autocommit=True) as conn, supervised(conn, dsn, place):
        rest.enqueue_many(conn, [{"i": i} for i in range(tasks)])
        seen = Seen(time.monotonic())
        until(lambda: bool(seen.look(conn)) and _count(conn, _LEFT) == 0, PATIENCE, 0.05)
        drained = time.monotonic() - seen.began
        until(lambda: seen.look(conn) == 1, PATIENCE, 0.05)
        back = time.monotonic() - seen.began - drained
        _check(outcome, place, tasks, _count(conn, _DONE))
    outcome.series += [Moment(*named, at, metrics) for at, metrics in seen.moments]
    outcome.require(seen.grew is not None and seen.grew <= 5, f"it grew after {seen.grew} s")
    outcome.require(back <= 60, f"the way back took {back:.1f} s")
    return {
        "grows_s": seen.grew if seen.grew is not None else float("nan"),
        "full_s": seen.full if seen.full is not None else float("nan"),
        "drain_s": drained,
        "back_s": back,
    }


@contextmanager
def supervised(conn: psycopg.Connection, dsn: str, place: Path) -> Iterator[Child]:
    """Run the supervisor while the block runs, and wait until its first process is there."""
    app.declare(conn)
    words = [sys.executable, "-m", "pgq.cli", "worker", app.path, "--processes", SPAN, "--log-level", "warning"]
    child = Child(words, {}, None, **{"PGQ_DSN": dsn, NAPS: str(place)})
    try:
        until(lambda: _count(conn, "select count(*) from pgq.workers where %s <> ''") == 1, PATIENCE)
        yield child
        child.stop()
        child.wait(PATIENCE)
    finally:
        child.bury()


def _check(outcome: Outcome, place: Path, tasks: int, completed: int) -> None:
    ran = Counter(int(line) for file in place.iterdir() for line in file.read_text().split())
    outcome.require(completed == tasks, f"{completed} of {tasks} rows are completed at their first attempt")
    outcome.require(len(ran) == tasks, f"{tasks - len(ran)} tasks were lost")
    outcome.require(ran.total() == len(ran), f"{ran.total() - len(ran)} runs were doubled")


def _count(conn: psycopg.Connection, query: str) -> int:
    ((count,),) = conn.execute(query.encode(), (QUEUE,)).fetchall()
    return int(count)
