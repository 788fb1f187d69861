"""A flow: one producer and some workers at the same time, looked at every few seconds, checked at the end.

The producer is `benchmarks.feeder`: it keeps 2,000 tasks waiting (full speed), or offers a fixed number a second
whatever the workers do. The workers' handlers note in tallies, which the harness reads without asking the server.
`tasks_per_s` counts outcomes that are committed. The server's costs are those of enqueue, claim and settle together.
`others_cpus` is how many processors were busy with something else; a run that had others beside it proves little.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.children import Child, children, dismiss, until, workers
from benchmarks.flowed import Flowed, Plan
from benchmarks.measure import Gauge, commits, cpu, machine_cpu, peak_rss, postmaster, server_cpu
from benchmarks.outcomes import Outcomes
from benchmarks.results import Moment, Outcome
from benchmarks.tally import Tally, doubled, missing, percentile

PATIENCE = 120.0  # seconds for what still waits at the end
STARVED = 0.1  # share of the time in which too few waited, from which on it was the producer that was measured
START = 1.0  # seconds of that which are forgiven
SHARED = Path("/dev/shm")  # noqa: S108 - memory; files elsewhere would be written back to the disk that is measured
_WRITES = "select coalesce(sum(n_tup_ins), 0)::bigint from pg_stat_user_tables where relid = 'pgq.counts'::regclass"
_ROWS = "select count(*) from pgq.tasks where status = 'completed' and attempts = 1 and worker_id > 0"

Look = Callable[[Sequence[Child]], Mapping[str, float]]


class Flow:
    """Runs one plan on the database behind `conn`; `look` adds metrics to each moment."""

    def __init__(self, conn: psycopg.Connection, dsn: str, plan: Plan, look: Look = lambda _: {}) -> None:
        self._conn = conn
        self._dsn = dsn
        self._plan = plan
        self._look = look
        self._outcomes = Outcomes(conn)

    def run(self, outcome: Outcome, case: str, repetition: int) -> Flowed:
        """Let it flow, then wait until everything is settled and check it; adds the series to the outcome."""
        with ExitStack() as stack:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=SHARED if SHARED.exists() else None)))
            paths = [place / str(number) for number in range(self._plan.processes)]
            self._tallies = [Tally.make(path, self._plan.most) for path in paths]
            self._sent = Tally.make(place / "sent", 0)
            crew = stack.enter_context(workers(self._conn, self._dsn, len(paths), paths, **self._plan.order))
            order = {"dsn": self._dsn, "tallies": [str(path) for path in paths], "sent": str(place / "sent")}
            (feeder,) = stack.enter_context(children("benchmarks.feeder", [{**order, **self._plan.feeding}]))
            feeder.hear()
            flowed = self._watch(case, repetition, crew, feeder)
            self._check(outcome, f"{case}, repetition {repetition + 1}", flowed)
            dismiss(crew)
        outcome.series += flowed.moments
        return flowed

    def _watch(self, case: str, repetition: int, crew: Sequence[Child], feeder: Child) -> Flowed:
        self._pids = [child.pid for child in (*crew, feeder)]
        self._postmaster = postmaster(self._conn)
        gauge = Gauge(self._conn, [child.pid for child in crew])
        commits_before, writes_before = commits(self._conn), self._ask(_WRITES)
        before, began = gauge.read(), time.monotonic()
        feeder.tell(began + self._plan.seconds)
        moments, last = [], self._state(began)
        for step in range(1, max(round(self._plan.seconds / self._plan.bucket), 1) + 1):
            time.sleep(max(began + step * self._plan.bucket - time.monotonic(), 0))
            state = self._state(began)
            moments.append(Moment(case, repetition, round(state.at, 1), self._metrics(last, state, crew)))
            last = state
        spent, rss = gauge.read() - before, max(peak_rss(child.pid) for child in crew)
        committed, written = commits(self._conn) - commits_before, self._ask(_WRITES) - writes_before
        calls, starved = feeder.hear()
        return Flowed(
            moments, spent, committed, written, last.started, last.settled, last.sent, calls, starved, rss, last.waits
        )

    def _state(self, began: float) -> _State:
        waits = [sum(counts) for counts in zip(*(tally.waits for tally in self._tallies), strict=True)]
        started = sum(tally.count for tally in self._tallies)
        settled = self._outcomes.count()
        return _State(time.monotonic() - began, self._sent.count, started, settled, waits, self._others())

    def _others(self) -> float:
        """Return the CPU seconds of whatever has nothing to do with this run."""
        ours = sum(cpu(pid) for pid in (os.getpid(), *self._pids))
        return machine_cpu() - ours - (server_cpu(self._postmaster) if self._postmaster else 0.0)

    def _metrics(self, last: _State, state: _State, crew: Sequence[Child]) -> dict[str, float]:
        found = {
            "tasks_per_s": (state.settled - last.settled) / (state.at - last.at),
            "waiting": float(state.sent - state.started),
            "others_cpus": (state.others - last.others) / (state.at - last.at),
        }
        if self._plan.rate and state.started > last.started:
            waits = [now - before for now, before in zip(state.waits, last.waits, strict=True)]
            found |= {"p50_ms": percentile(waits, 0.5), "p99_ms": percentile(waits, 0.99)}
        return {**found, **self._look(crew)}

    def _check(self, outcome: Outcome, where: str, flowed: Flowed) -> None:
        """Make the run invalid unless each task ran once, and the producer was not what was measured."""
        sent = self._sent.count
        try:
            until(lambda: self._outcomes.count() >= sent, PATIENCE, 0.05)
        except TimeoutError:
            outcome.problems.append(f"{where}: {self._outcomes.count()} of {sent} tasks were settled")
        outcome.require(missing(self._tallies, sent) == 0, f"{where}: {missing(self._tallies, sent)} tasks never ran")
        outcome.require(doubled(self._tallies) == 0, f"{where}: {doubled(self._tallies)} tasks ran twice")
        rows = self._ask(_ROWS)
        outcome.require(rows == sent, f"{where}: {rows} of {sent} rows are completed at their first attempt")
        outcome.require(
            flowed.starved <= START + STARVED * self._plan.seconds,
            f"{where}: producer-bound, for {flowed.starved:.1f} s too few tasks waited",
        )
        offered = self._plan.rate * self._plan.seconds
        outcome.require(
            flowed.sent >= 0.98 * (offered - START * self._plan.rate),
            f"{where}: producer-bound, {flowed.sent} of {offered:.0f} tasks were offered",
        )

    def _ask(self, query: Any) -> int:
        ((value,),) = self._conn.execute(query).fetchall()
        return int(value)


@dataclass(frozen=True, slots=True)
class _State:
    at: float
    sent: int
    started: int
    settled: int
    waits: list[int]
    others: float


def dead_tuples(conn: psycopg.Connection) -> Look:
    """Return a look at the dead row versions in the table of tasks, as Postgres counts them."""
    query = (
        "select coalesce(sum(n_dead_tup), 0)::bigint from pg_stat_user_tables"
        " where schemaname = 'pgq' and relname like 'tasks%'"
    )

    def look(_: Sequence[Child]) -> dict[str, float]:
        ((count,),) = conn.execute(query).fetchall()
        return {"dead_tuples": float(count)}

    return look
