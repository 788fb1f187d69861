"""Dead letters by the thousand: count them, start them over, delete them.

In batches, each a short transaction of its own that takes its locks in the lock order and waits for nobody who holds
one; the audit's entry is written and counted up in the same transactions. Whoever stops half way (^C) has done just
what the entry says, and can begin again: what is left is still dead.

    which = Which(queue="webhooks", error="HTTP 503")
    for so_far in replay(conn, which, rate=50, actor=whoami()):
        print(so_far.changed)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import psycopg

from pgq.audit import record
from pgq.db import Call, Row, run
from pgq.errors import ConfigError

BATCH = 500
PATIENCE = "500ms"  # for a unique key that somebody else's transaction is just taking
AGAIN = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)


@dataclass(frozen=True, slots=True)
class Which:
    """Which dead letters: those that fit all that is given. `older` and `newer` are seconds since they died."""

    queue: str | None = None
    task: str | None = None
    error: str | None = None
    older: float | None = None
    newer: float | None = None
    ids: tuple[int, ...] = ()

    @property
    def given(self) -> dict[str, Any]:
        """What was given, by name; nothing for all dead letters."""
        return {name: value for name, value in asdict(self).items() if value not in {None, ()}}

    @property
    def values(self) -> dict[str, Any]:
        """What the statements take."""
        return {**asdict(self), "ids": list(self.ids) or None}


@dataclass(frozen=True, slots=True)
class Picked:
    """A dead letter that is about to be changed, as it was seen."""

    id: int
    scheduled_at: datetime
    queue: str
    died_at: datetime


@dataclass(frozen=True, slots=True)
class Progress:
    """What has been done so far: how many were changed, were refused (their unique key is taken), were left alone.

    Left alone is what somebody else was changing in that moment, or had changed since it was seen.
    """

    changed: int = 0
    refused: tuple[int, ...] = ()
    left: int = 0


def count(conn: psycopg.Connection, which: Which) -> dict[str, int]:
    """Return how many dead letters are like that, by queue."""
    return dict(run(conn, Call("count_dead", which.values)))


def replay(
    conn: psycopg.Connection, which: Which, *, rate: float | None = None, actor: str | None = None, note: str = ""
) -> Iterator[Progress]:
    """Start dead letters over with all their attempts, and yield the progress after each batch.

    With a `rate` (tasks per second) they become due one after the other, from now on: it is written with them, so
    they keep that pace whether or not this process lives. They pass their limits like any other task. One whose
    unique key is taken stays dead. `conn` must be in autocommit mode.
    Raises ConfigError for a connection that is not.
    """
    return _each(conn, "replay", which, {"step": 1 / rate if rate else 0.0}, actor, note)


def purge(conn: psycopg.Connection, which: Which, *, actor: str | None = None, note: str = "") -> Iterator[Progress]:
    """Delete dead letters for good, and yield the progress after each batch. `conn` must be in autocommit mode."""
    return _each(conn, "purge", which, {}, actor, note)


def _each(
    conn: psycopg.Connection, action: str, which: Which, more: dict[str, Any], actor: str | None, note: str
) -> Iterator[Progress]:
    if not conn.autocommit:  # else all batches were one transaction, and a long one
        raise ConfigError("dead letters are changed in batches: give a connection in autocommit mode")
    ((began,),) = run(conn, Call("clock", {}))
    so_far, entry, batch = Progress(), None, BATCH
    place: tuple[datetime | None, int | None] = (None, None)
    while True:
        page = {"now": began, "after": place[0], "after_id": place[1], "batch": batch}
        picked = [Picked(*row) for row in run(conn, Call("pick_dead", {**which.values, **page}))]
        if not picked:
            return
        values = {**keys_of(picked), **more, "base": began, "done": so_far.changed}
        try:
            with _short(conn):
                rows = run(conn, Call(f"{action}_dead", values))
                changed = sum(row[1] for row in rows)
                first = record(action, queue=which.queue, filter=which.given, count=changed, actor=actor, note=note)
                written = _audit(conn, entry, changed, first)
        except AGAIN:
            continue
        except psycopg.errors.LockNotAvailable:
            if batch > 1:  # one of them waits for a key: find out which
                batch = 1
                continue
            rows, written = [(picked[0].id, False)], entry
        entry, so_far = written, _add(so_far, picked, rows)
        place = (picked[-1].died_at, picked[-1].id)
        batch = min(batch * 2, BATCH)
        yield so_far


def keys_of(picked: list[Picked]) -> dict[str, Any]:
    """Return what the statements that change dead letters need to find them again."""
    return {
        "ids": [letter.id for letter in picked],
        "scheduled": [letter.scheduled_at for letter in picked],
        "queues": [letter.queue for letter in picked],
        "died": [letter.died_at for letter in picked],
    }


@contextmanager
def _short(conn: psycopg.Connection) -> Iterator[None]:
    with conn.transaction():
        conn.execute(f"set local lock_timeout = '{PATIENCE}'")
        yield


def _audit(conn: psycopg.Connection, entry: int | None, changed: int, first: Call) -> int | None:
    """Count up the audit's entry, which the first change makes; returns its id."""
    if not changed:
        return entry
    ((entry,),) = run(conn, first if entry is None else Call("count_in_audit", {"id": entry, "count": changed}))
    return entry


def _add(so_far: Progress, picked: list[Picked], rows: list[Row]) -> Progress:
    refused = tuple(row[0] for row in rows if not row[1])
    return replace(
        so_far,
        changed=so_far.changed + len(rows) - len(refused),
        refused=so_far.refused + refused,
        left=so_far.left + len(picked) - len(rows),
    )
