"""First stage of the line: tasks become rows in the caller's own transaction.

Everything that can be refused is refused before SQL. One task is one statement, many are one statement, very many
are COPY. The statements ring the doorbell themselves, only if somebody sleeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from pgq.db import Call, Row, arun, our_errors, raw, run
from pgq.errors import InvalidOption, UnknownQueue
from pgq.options import Options


def one(queue: str, task: str, payload: str, options: Options) -> Call:
    """Return the statement that adds one task."""
    values = {"queue": queue, "task": task, "payload": payload, **options.values()}
    if options.unique_key is None:
        return Call("enqueue", values)
    return Call("enqueue_unique", {**values, "unique_key": options.unique_key, "on_conflict": options.on_conflict})


def many(queue: str, task: str, payloads: Sequence[str], options: Options) -> Call:
    """Return the statement that adds one task per payload. Raises InvalidOption for a unique key."""
    _refuse_key(options)
    return Call("enqueue_many", {"queue": queue, "task": task, "payloads": list(payloads), **options.values()})


def send(conn: Any, call: Call) -> Any:
    """Carry out `one` or `many` on a sync connection; returns the id (None: skipped), or the list of ids."""
    return _added(call, run(conn, call))


async def asend(conn: Any, call: Call) -> Any:
    """Carry out `one` or `many` on an async connection; returns the id (None: skipped), or the list of ids."""
    return _added(call, await arun(conn, call))


def copy(conn: Any, queue: str, task: str, payloads: Iterable[str], options: Options) -> int:
    """Add very many tasks by COPY on a psycopg connection (or one under SQLAlchemy or Django); returns how many.

    The ids are not known afterwards. Raises UnknownQueue; ConfigError on a driver without COPY.
    """
    _refuse_key(options)
    defaults = Call("copy_defaults", {"queue": queue, **options.values()})
    count = 0
    # psycopg's plain cursor, whatever the caller's is, and times in binary: as text they may lack their zone (Django)
    # or be in a style that psycopg does not read.
    with our_errors(), psycopg.Cursor(raw(conn), row_factory=tuple_row) as cursor:
        cursor.execute(defaults.text, defaults.values, binary=True)
        prefix = (queue, task, int(options.priority), *_only(queue, cursor.fetchall()))
        with cursor.copy(COPY) as sink:
            sink.set_types(COPY_TYPES)
            for payload in payloads:
                sink.write_row((*prefix, payload))
                count += 1
        cursor.execute("select pgq.ring(name, bell) from pgq.queues where name = %s", (queue,))
    return count


COPY = (
    "copy pgq.tasks (queue, task, priority, created_at, scheduled_at, max_attempts, timeout, payload)"
    " from stdin (format binary)"
)
# The payload is JSON text already, and JSON's binary form is its text: psycopg's "json" would encode it once more.
COPY_TYPES = ("text", "text", "int2", "timestamptz", "timestamptz", "int4", "float8", "text")


def _added(call: Call, rows: Sequence[Row]) -> Any:
    queue = call.values["queue"]
    added = _only(queue, rows)[0]
    if added is None and call.name == "enqueue_many":
        raise _unknown(queue)
    return added


def _only(queue: str, rows: Sequence[Row]) -> Row:
    if not rows:
        raise _unknown(queue)
    return rows[0]


def _unknown(queue: str) -> UnknownQueue:
    return UnknownQueue(f"unknown queue {queue!r}: run `pgq queues sync module:app` where it is declared")


def _refuse_key(options: Options) -> None:
    if options.unique_key is not None:
        raise InvalidOption(f"unique_key is for one task at a time, got {options.unique_key!r} for many")
