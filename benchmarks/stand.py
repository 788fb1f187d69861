"""A stand: one database with its worker, where bursts of tasks are drained, each from a pause to a pause.

Scenarios that compare what lies in a table keep one stand per case and give them bursts by turns, so that whatever
else the machine does meets all of them. A burst is timed from just before `pgq.resume` until another connection sees
its last outcome committed; then the queue is paused again, and what was claimed beyond the burst is waited for.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psycopg

from benchmarks.app import QUEUE
from benchmarks.children import Child, children, until, workers
from benchmarks.flow import SHARED
from benchmarks.flowed import CONCURRENCY
from benchmarks.harness import Bench
from benchmarks.measure import Gauge, Reading, costs, peak_rss
from benchmarks.outcomes import Outcomes
from benchmarks.results import Outcome
from benchmarks.tally import Tally, doubled

STALLED = 20.0  # seconds that a burst may take
STUCK = 60.0  # seconds for everything else
_FILL = """
insert into pgq.tasks (queue, task, payload, timeout, max_attempts, priority, scheduled_at)
select %(queue)s, 'count', json_build_object('i', i), 60, 5, 5, clock_timestamp()
from generate_series(%(first)s::bigint, %(last)s::bigint) as i
"""
_BUSY = "select exists (select from pgq.tasks where queue = %s and status = 'processing')"
_DONE = "select count(*) from pgq.tasks where queue = %s and status = 'completed' and attempts = 1 and worker_id > 0"


@dataclass(frozen=True, slots=True)
class Burst:
    """One burst: tasks that were settled between the signal and the last look, and what that cost."""

    per_second: float
    tasks: int
    spent: Reading


class Stand:
    """A paused queue with a worker that stands ready; `filled` counts the tasks that were put there."""

    def __init__(self, conn: psycopg.Connection, dsn: str, place: Path, crew: Sequence[Child]) -> None:
        self.filled = 0
        self.conn = conn
        self.crew = crew
        self.dsn = dsn
        self.place = place
        self.tally = Tally(place / "0")
        self._gauge = Gauge(conn, [child.pid for child in crew])

    def fill(self, tasks: int) -> None:
        """Put tasks into the table, due now; by one insert per million, as no producer could."""
        for first in range(self.filled, self.filled + tasks, 1_000_000):
            last = min(first + 1_000_000, self.filled + tasks) - 1
            self.conn.execute(_FILL, {"queue": QUEUE, "first": first, "last": last})
        self.filled += tasks

    def tidy(self) -> None:
        """Vacuum and analyze as autovacuum would have while that many tasks gathered, and write it all to disk."""
        self.conn.execute("vacuum (analyze) pgq.tasks")
        self.conn.execute("checkpoint")

    def burst(self, tasks: int) -> Burst:
        """Drain so many of the tasks that wait, of which more should be there; one that stalls is cut off and slow."""
        outcomes = Outcomes(self.conn)
        settled, started = outcomes.count(), self.tally.count
        before, signalled = self._gauge.read(), time.monotonic()
        self.conn.execute("select pgq.resume(%s)", (QUEUE,))
        with suppress(TimeoutError):
            until(lambda: self.tally.count >= started + tasks, STALLED, 0.001)
            until(lambda: outcomes.count() >= settled + tasks, STALLED, 0.001)
        found, took = outcomes.count() - settled, time.monotonic() - signalled
        spent = self._gauge.read() - before
        self.conn.execute("select pgq.pause(%s)", (QUEUE,))
        until(self._quiet, STUCK)
        return Burst(found / took, found, spent)

    @contextmanager
    def offered(self, rate: float) -> Iterator[Offered]:
        """Let so many tasks a second come and go inside the block, none waiting at its beginning and end."""
        self._empty()
        sent = Tally.make(self.place / "sent", 0)
        sent.add(self.filled)
        order = {"task": "count", "rate": rate, "tick": 0.005, "tallies": [], "sent": str(self.place / "sent")}
        with children("benchmarks.feeder", [{"dsn": self.dsn, **order}]) as (feeder,):
            feeder.hear()
            self.conn.execute("select pgq.resume(%s)", (QUEUE,))
            feeder.tell(time.monotonic() + STUCK)
            time.sleep(0.5)  # the first tasks have come and gone
            yield Offered(self, sent, rate)
            feeder.stop()
            feeder.hear()
        self.filled = sent.count
        self._empty()

    def _empty(self) -> None:
        """Let everything run that waits."""
        self.conn.execute("select pgq.resume(%s)", (QUEUE,))
        until(lambda: self.tally.count >= self.filled, STUCK)
        until(self._quiet, STUCK)
        self.conn.execute("select pgq.pause(%s)", (QUEUE,))

    def check(self, outcome: Outcome, where: str) -> None:
        """Make the run invalid unless everything that ran did so once and is a completed row."""
        ((rows,),) = self.conn.execute(_DONE, (QUEUE,)).fetchall()
        twice, began = doubled([self.tally]), self.tally.count
        outcome.require(rows == began, f"{where}: {rows} rows are completed at their first attempt, {began} tasks ran")
        outcome.require(twice == 0, f"{where}: {twice} tasks ran twice")

    def _quiet(self) -> bool:
        """Return whether nothing runs, and nothing has begun for a moment: a claim may have been under way."""
        began = self.tally.count
        time.sleep(0.05)
        ((busy,),) = self.conn.execute(_BUSY, (QUEUE,)).fetchall()
        return not busy and self.tally.count == began


def figures(found: Stand, bursts: Sequence[Burst]) -> dict[str, float]:
    """Return the metrics of bursts of one stand: the median and the least rate, and what all of them together cost."""
    tasks, spent = sum(burst.tasks for burst in bursts), sum((burst.spent for burst in bursts[1:]), bursts[0].spent)
    return {
        "tasks_per_s": median(burst.per_second for burst in bursts),
        "slowest_per_s": min(burst.per_second for burst in bursts),
        "tasks_per_transaction": tasks / max(spent.xids, 1),
        "transactions_per_s": spent.xids / spent.at,
        **costs(spent, tasks, "worker"),
        "worker_rss_mb": peak_rss(found.crew[0].pid),
    }


@contextmanager
def stand(bench: Bench, most: int) -> Iterator[Stand]:
    """Yield a stand in a database of its own, with room for so many tasks."""
    with (
        bench.database() as dsn,
        psycopg.connect(dsn, autocommit=True) as conn,
        tempfile.TemporaryDirectory(dir=SHARED if SHARED.exists() else None) as place,
    ):
        conn.execute("select pgq.pause(%s)", (QUEUE,))
        Tally.make(Path(place) / "0", most)
        with workers(conn, dsn, 1, [Path(place) / "0"], concurrency=CONCURRENCY) as crew:
            yield Stand(conn, dsn, Path(place), crew)


class Offered:
    """Tasks that come and go beside something else: how many are due, were sent, and have started, from now on."""

    def __init__(self, found: Stand, sent: Tally, rate: float) -> None:
        self._found, self._tally, self._rate = found, sent, rate
        self._at, self._first, self._began = time.monotonic(), sent.count, found.tally.count

    @property
    def due(self) -> int:
        """How many should have been sent."""
        return int((time.monotonic() - self._at) * self._rate)

    @property
    def sent(self) -> int:
        """How many were sent."""
        return self._tally.count - self._first

    @property
    def started(self) -> int:
        """How many handlers began."""
        return self._found.tally.count - self._began
