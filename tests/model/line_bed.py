"""The real tables under the model of the line: what resets them, reads them, and hears the doorbell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from factory import make_day, make_queue
from line_book import Book, Entry
from psycopg.rows import namedtuple_row

from pgq.db import Call, run
from pgq.queue import Settings

QUEUES = {
    "keeps": Settings(name="keeps", max_attempts=2, backoff="fixed", delay=0.0),
    "forgets": Settings(name="forgets", max_attempts=1, backoff="fixed", delay=0.0, keep_dead=False, retention=0.0),
}
PAST = (-2, -1)  # days that have a partition, beside today
AHEAD = 20  # the day that has none, until it is made
EMPTIED = ("tasks", "unique_keys", "counts", "attempts", "workers", "audit")


@dataclass(frozen=True)
class Row:
    """A row as it is, beside what the book says of it."""

    entry: Entry
    priority: int
    scheduled_at: datetime
    started_at: datetime | None
    leaf: str


class Bed:
    """One database; every example begins with it empty. `clerk` is a business transaction that stays open."""

    def __init__(self, dsn: str) -> None:
        self.conn = psycopg.connect(dsn, autocommit=True)
        self.clerk = psycopg.connect(dsn)
        self.ear = psycopg.connect(dsn, autocommit=True)
        self.sleepers = [psycopg.connect(dsn, autocommit=True) for _ in range(2)]
        self.ear.execute("listen pgq")
        self.conn.execute("set lock_timeout = '100ms'")
        for settings in QUEUES.values():
            make_queue(
                self.conn, settings.name, max_attempts=settings.max_attempts, backoff="fixed", delay=0,
                keep_dead=settings.keep_dead, retention=settings.retention,
            )  # fmt: skip

    def reset(self) -> None:
        """Empty every table, and give the past its days back."""
        self.clerk.rollback()
        for sleeper in self.sleepers:
            sleeper.execute("select pg_advisory_unlock_all()")
        for table in EMPTIED:
            self.conn.execute(f"delete from pgq.{table}")
        self.conn.execute("update pgq.queues set paused_at = null")
        self.conn.execute("update pgq.partitions set sealed_at = null")
        if self.conn.execute("select to_regclass('pgq.' || %s)", (self.day(AHEAD),)).fetchone()[0]:
            self.conn.execute("select pgq.drop_partition(%s)", (self.day(AHEAD),))
        for day in PAST:
            make_day(self.conn, day)
        self.rings()

    def day(self, away: int) -> str:
        """Name the partition of a day."""
        query = "select 'tasks_' || to_char((clock_timestamp() at time zone 'UTC')::date + %s, 'YYYYMMDD')"
        return self.conn.execute(query, (away,)).fetchone()[0]

    def rows(self) -> dict[int, Row]:
        cursor = self.conn.cursor(row_factory=namedtuple_row)
        query = "select t.*, t.tableoid::regclass::text as leaf from pgq.tasks as t"
        return {
            row.id: Row(
                Entry(row.id, row.queue, row.max_attempts, row.unique_key, row.status, row.attempts, row.crashes,
                      row.lease, row.worker_id, row.suspect, row.cancel_requested),
                row.priority, row.scheduled_at, row.started_at, row.leaf.removeprefix("pgq."),
            )
            for row in cursor.execute(query).fetchall()
        }  # fmt: skip

    def check(self, book: Book) -> None:
        """Compare everything that is there with the book."""
        rows = {task_id: row.entry for task_id, row in self.rows().items()}
        assert rows == book.tasks
        held = self.conn.execute("select queue, key, task_id from pgq.unique_keys").fetchall()
        assert {(queue, key): task_id for queue, key, task_id in held} == book.keys
        sums = self.conn.execute(
            "select queue, sum(completed), sum(failed), sum(dead), sum(cancelled), sum(retried)"
            " from pgq.counts group by queue"
        ).fetchall()
        names = ("completed", "failed", "dead", "cancelled", "retried")
        counted = {(row[0], name): int(n) for row in sums for name, n in zip(names, row[1:], strict=True) if n}
        assert counted == {each: n for each, n in book.counts.items() if n}

    def bell(self, queue: str) -> int:
        return self.conn.execute("select bell from pgq.queues where name = %s", (queue,)).fetchone()[0]

    def doze(self, sleeper: int, queue: str) -> str:
        return run(self.sleepers[sleeper], Call("doze", {"bell": self.bell(queue)}))[0][0]

    def rouse(self, sleeper: int, queue: str) -> None:
        run(self.sleepers[sleeper], Call("rouse", {"bell": self.bell(queue), "queue": queue, "tell": False}))

    def rings(self) -> set[str]:
        """Return the queues that were rung for: a note sent now comes after all that was committed before."""
        self.conn.execute("select pg_notify('pgq', 'mark')")
        heard = set()
        for note in self.ear.notifies(timeout=10):
            if note.payload == "mark":
                return heard
            kind, _, queue = note.payload.partition(":")
            heard |= {queue} if kind == "ring" else set()
        raise AssertionError("the mark did not come")

    @contextmanager
    def step(self, *, commits: bool = True) -> Iterator[psycopg.Connection]:
        """One transaction of the line; without `commits` its session is lost before the end."""
        with self.conn.transaction(force_rollback=not commits):
            yield self.conn

    def close(self) -> None:
        for conn in (self.conn, self.clerk, self.ear, *self.sleepers):
            conn.close()


def columns(rows: list[Any], *names: str) -> dict[str, list[Any]]:
    """Turn rows into one list per name."""
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}
