"""The outside ledger: what was promised and what was done, kept in files that no database fault can touch.

One line an event, appended by one write, times of the system-wide monotonic clock. Producers write down their intent
before an enqueue and its acknowledgement after the commit; handlers write down every start and end.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from time import monotonic_ns
from typing import Any

import psycopg

NEVER = 2**63
LET_GO = 10_000_000  # nanoseconds from waking in which a task starts that was on its way when its process was stopped


@dataclass(frozen=True, slots=True)
class Account:
    """The figures that a scenario is judged by; the sets name tasks by their keys."""

    lost: set[str]  # acknowledged to a producer, and not completed
    unexpected: set[str]  # run or stored, although nobody meant to enqueue it
    overlap: set[str]  # two runs of it at the same time
    doubled: int  # runs beyond the first of each task
    stuck: int  # rows being processed by nobody
    acked: int = 0
    runs: int = 0

    @property
    def clean(self) -> bool:
        """Whether no promise was broken; a repeated run breaks none."""
        return not (self.lost or self.unexpected or self.overlap or self.stuck)

    def figures(self) -> dict[str, int]:
        """Return the figures in the order in which a table shows them."""
        return {
            "acked": self.acked,
            "runs": self.runs,
            "lost": len(self.lost),
            "unexpected": len(self.unexpected),
            "overlap": len(self.overlap),
            "stuck": self.stuck,
            "doubled": self.doubled,
        }


Drained = Callable[..., Account]  # wait for the end of all tasks, and return the account


@dataclass(slots=True)
class Run:
    """One execution of a handler."""

    key: str
    task_id: int
    attempt: int
    lease: str
    pid: int
    parent: int
    began: int
    ended: int | None = None


@dataclass(frozen=True, slots=True)
class Ledger:
    """A folder with one file for each kind of event."""

    folder: Path
    files: dict[str, int] = field(default_factory=dict)

    def write(self, kind: str, *words: object) -> None:
        """Append one event."""
        if kind not in self.files:
            self.files[kind] = os.open(self.folder / kind, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        line = " ".join(map(str, (monotonic_ns(), *words)))
        os.write(self.files[kind], f"{line}\n".encode())

    def read(self, kind: str) -> list[list[str]]:
        """Return the events of one kind, split into words; the first is the time."""
        path = self.folder / kind
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def keys(self, kind: str) -> set[str]:
        """Return the task keys of all events of one kind."""
        return {words[1] for words in self.read(kind)}

    def further(self, kind: str, count: int) -> Callable[[], bool]:
        """Return a condition: there are so many more events of one kind than now."""
        before = len(self.read(kind))
        return lambda: len(self.read(kind)) >= before + count

    def killed(self, pid: int) -> None:
        """Note that a process was killed just now: nothing it was doing goes on."""
        self.write("killed", pid)

    def outslept(self, pid: int, over: int) -> None:
        """Note that a process was stopped, and lost what it ran at the moment `over`, when its lease ended."""
        self.write("outslept", pid, over)

    def runs(self) -> list[Run]:
        """Return every execution; one without an end ended when its process, or that one's parent, was killed.

        Whatever a process ran that outslept its lease counts as over from then on; so does a task that it had let go
        when it was stopped, and that wrote down its start only when it woke. There can be one such task.
        """
        begun: dict[tuple[str, ...], Run] = {}
        for when, key, task_id, attempt, lease, pid, parent in self.read("start"):
            run = Run(key, int(task_id), int(attempt), lease, int(pid), int(parent), int(when))
            begun[key, lease] = run
        for when, key, lease in self.read("end") + self.read("stop"):
            begun[key, lease].ended = int(when)
        deaths = {int(pid): int(when) for when, pid in reversed(self.read("killed"))}  # the first of each counts
        asleep = self.read("outslept")
        for run in begun.values():
            if run.ended is None:
                run.ended = min(deaths.get(run.pid, NEVER), deaths.get(run.parent, NEVER))
            for _, pid, over in asleep:
                if int(pid) == run.pid and run.began < int(over) < run.ended:
                    run.ended = int(over)
        for woken, pid, _ in asleep:
            _forgive_first(begun.values(), int(pid), int(woken))
        return list(begun.values())

    def account(self, dsn: str, excused: frozenset[str] = frozenset()) -> Account:
        """Compare promises, runs and rows; `excused` are keys that need not complete."""
        runs = self.runs()
        rows = dict(_rows(dsn))
        done = {key for key in self.keys("end") if rows.get(key) == "completed"}
        seen = {run.key for run in runs} | rows.keys()
        return Account(
            lost=self.keys("ack") - done - excused,
            unexpected=seen - self.keys("intent"),
            overlap=set(_overlapping(runs)),
            doubled=len(runs) - len({run.key for run in runs}),
            stuck=_stuck(dsn),
            acked=len(self.keys("ack")),
            runs=len(runs),
        )

    def kept(self, dsn: str) -> frozenset[str]:
        """Return the keys of tasks that are in the table and have not completed: whatever they are, not lost."""
        return frozenset(key for key, status in _rows(dsn) if status != "completed")


class Tail:
    """The events of one kind, read on from where it was left: a ledger that grows for minutes is long."""

    def __init__(self, ledger: Ledger, kind: str) -> None:
        self.keys: set[str] = set()
        self._path = ledger.folder / kind
        self._read = 0

    def look(self) -> set[str]:
        """Return the task keys of all events so far."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._read)
                whole = file.read().rpartition(b"\n")[0]
            self._read += len(whole) + bool(whole)
            self.keys.update(line.split()[1].decode() for line in whole.splitlines())
        return self.keys


def _forgive_first(runs: Iterable[Run], pid: int, woken: int) -> None:
    at_once = [run for run in runs if run.pid == pid and woken <= run.began < woken + LET_GO]
    if at_once:
        first = min(at_once, key=lambda run: run.began)
        first.ended = first.began


def _overlapping(runs: list[Run]) -> Iterator[str]:
    by_key: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_key[run.key].append(run)
    for key, own in by_key.items():
        own.sort(key=lambda run: run.began)
        for first, second in pairwise(own):
            if first.ended is not None and first.ended > second.began:
                yield key


def _rows(dsn: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as conn:
        return conn.execute("select payload ->> 'key', status::text from pgq.tasks").fetchall()


def _stuck(dsn: str) -> int:
    with psycopg.connect(dsn) as conn:
        cursor = conn.execute(
            "select count(*) from pgq.tasks as t where status = 'processing' and not exists (select 1 from pgq.workers"
            " as w where w.id = t.worker_id and w.heartbeat_at + w.lease * interval '1 second' > clock_timestamp())"
        )
        return int(cursor.fetchall()[0][0])
