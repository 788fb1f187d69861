"""What twenty open browsers of the dashboard cost a drain: with and without them, by turns, in pairs.

Timed: `tasks_per_s` as in `drain`, for 120,000 no-op tasks (a drain of some seconds) by one worker process. `ratio`
compares to the drain without browsers in the same pair; which of the two comes first alternates. With browsers, a
real `pgq dashboard` serves 20 connections that stream the overview and read everything, from before the start signal
to the end. `events_per_s` are events of queue numbers that each browser got; `dashboard_cpus` and `browsers_cpus` how
many processors those two processes kept busy.

On: a fresh database each; server, worker, dashboard, browsers and this harness share the machine, so the dashboard's
own processor time is part of what it costs.

Durability: the server's as in the manifest.

Checked: every task was executed and recorded once; the browsers got events while it drained.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import psycopg

from benchmarks.children import ROOT, children, dismiss
from benchmarks.harness import Bench
from benchmarks.measure import cpu
from benchmarks.results import Outcome
from benchmarks.scenarios import drain

HEADLINE = ("tasks_per_s", "ratio", "events_per_s")
BROWSERS = 20
CASES = ("no browser", f"{BROWSERS} browsers")


def run(bench: Bench) -> Outcome:
    """Measure pairs, the first of which alternates."""
    outcome = Outcome("dashboard")
    for repetition in range(bench.repetitions):
        found = {}
        for case in CASES if repetition % 2 == 0 else CASES[::-1]:
            found[case] = measure(outcome, bench, f"{case}, repetition {repetition + 1}", watched=case != CASES[0])
        control = found[CASES[0]]["tasks_per_s"]
        for case in CASES:
            metrics = {"ratio": found[case]["tasks_per_s"] / control, **found[case]}
            outcome.add(case, repetition, metrics)
            bench.say(
                f"dashboard {repetition + 1}/{bench.repetitions}: {case}: {metrics['tasks_per_s']:,.0f}/s, "
                f"{metrics['ratio']:.3f}"
            )
    return outcome


def measure(outcome: Outcome, bench: Bench, where: str, *, watched: bool) -> dict[str, float]:
    """Run one drain, watched or not; returns its metrics."""
    tasks = bench.size(120_000, 4_000)
    with bench.database() as dsn, psycopg.connect(dsn, autocommit=True) as conn:
        if not watched:
            drained = drain.drain(conn, dsn, 1, tasks)
            drain.check(outcome, conn, drained, tasks, where)
            return drain.figures(conn, drained, tasks)
        with (
            dashboard(dsn) as (pid, port),
            children("benchmarks.browser", [{"port": port, "browsers": BROWSERS}]) as crew,
        ):
            crew[0].hear()
            began, spent, reading = monotonic(), cpu(pid), cpu(crew[0].pid)
            drained = drain.drain(conn, dsn, 1, tasks)
            seconds = monotonic() - began
            spent, reading = cpu(pid) - spent, cpu(crew[0].pid) - reading
            ((events, size),) = dismiss(crew)
        drain.check(outcome, conn, drained, tasks, where)
        outcome.require(events >= 2 * BROWSERS, f"{where}: the browsers got {events} events only")
        return {
            **drain.figures(conn, drained, tasks),
            "events_per_s": events / BROWSERS / seconds,
            "bytes_per_event": size / max(events, 1),
            "dashboard_cpus": spent / seconds,
            "browsers_cpus": reading / seconds,
        }


@contextmanager
def dashboard(dsn: str) -> Iterator[tuple[int, int]]:
    """Serve a dashboard; yields its process id and its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pgq.cli", "dashboard", "--port", "0"],
        cwd=ROOT, env={**os.environ, "PGQ_DSN": dsn, "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None  # noqa: S101 - opened as a pipe above
        found = re.search(r":(\d+)/", process.stdout.readline())
        if found is None:
            raise RuntimeError(f"the dashboard did not start: it ended with {process.wait(10)}")
        yield process.pid, int(found[1])
    finally:
        process.terminate()
        process.communicate(timeout=20)
