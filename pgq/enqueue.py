"""First stage of the line: tasks become rows in the caller's own transaction.

Everything that can be refused is refused before SQL. One task is one statement, many are one statement, very many
are COPY. The statements ring the doorbell themselves, only if somebody sleeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from pgq.db import Call, Row, arun, our_errors, raw, run
from pgq.errors import ConfigError, InvalidOption, UnknownQueue
from pgq.options import Options
from pgq.trace import current


def one(queue: str, task: str, payload: str, options: Options, keys: list[str] | None = None) -> Call:
    """Return the statement that adds one task; `keys` are its limit keys in place of the options'."""
    values = {"queue": queue, "task": task, "payload": payload, **options.values(), "trace": current()}
    if keys is not None:
        values["limit_keys"] = keys
    if options.unique_key is None:
        return Call("enqueue", values)
    return Call("enqueue_unique", {**values, "unique_key": options.unique_key, "on_conflict": options.on_conflict})


def many(
    queue: str, task: str, payloads: Sequence[str], options: Options, keys: Sequence[Sequence[str]] | None = None
) -> Call:
    """Return the statement that adds one task per payload; `keys` are the limit keys of each.

    Raises InvalidOption for a unique key.
    """
    _refuse_key(options)
    values = {"queue": queue, "task": task, "payloads": list(payloads), **options.values(), "trace": current()}
    if keys is not None:
        values["limit_keys"] = [_array(each) for each in keys]
    elif options.limit_key is not None:
        values["limit_keys"] = [_array(options.limit_keys)] * len(payloads)
    return Call("enqueue_many", values)


def send(conn: Any, call: Call) -> Any:
    """Carry out `one` or `many` on a sync connection; returns the id (None: skipped), or the list of ids."""
    return _added(call, run(conn, call))


async def asend(conn: Any, call: Call) -> Any:
    """Carry out `one` or `many` on an async connection; returns the id (None: skipped), or the list of ids."""
    return _added(call, await arun(conn, call))


def copy(conn: Any, queue: str, task: str, bodies: Iterable[tuple[str, list[str] | None]], options: Options) -> int:
    """Add very many tasks by COPY on a psycopg connection (or one under SQLAlchemy or Django); returns how many.

    Each body is a payload, and its limit keys in place of the options'. The ids are not known afterwards. Raises
    UnknownQueue; ConfigError on a driver without COPY.
    """
    _refuse_key(options)
    values = options.values()
    defaults = Call("copy_defaults", {"queue": queue, **values})
    count = 0
    # psycopg's plain cursor, whatever the caller's is, and times in binary: as text they may lack their zone (Django)
    # or be in a style that psycopg does not read.
    with our_errors(), psycopg.Cursor(raw(conn), row_factory=tuple_row) as cursor:
        cursor.execute(defaults.text, defaults.values, binary=True)
        same = (queue, task, values["priority"], *_only(queue, cursor.fetchall()))
        limited = values["limit_keys"] is not None or values["weight"] is not None
        columns = COPIED | LIMITED if limited else COPIED
        trace = current()
        if trace is not None:
            columns = {"trace": "text", **columns}
            same = (trace, *same)
        with _refused_copy(), cursor.copy(f"copy pgq.tasks ({', '.join(columns)}) from stdin (format binary)") as sink:
            sink.set_types(list(columns.values()))
            for payload, keys in bodies:
                row = (*same, payload)
                sink.write_row((*row, values["weight"], keys or values["limit_keys"]) if limited else row)
                count += 1
        cursor.execute("select pgq.ring(name, bell) from pgq.queues where name = %s", (queue,))
    return count


@contextmanager
def _refused_copy() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.FeatureNotSupported as error:
        raise ConfigError(f"cannot COPY into pgq.tasks ({error.diag.message_primary}): use enqueue_many") from error


# The payload is JSON text already, and JSON's binary form is its text: psycopg's "json" would encode it once more.
COPIED = {
    "queue": "text", "task": "text", "priority": "int2", "created_at": "timestamptz", "scheduled_at": "timestamptz",
    "max_attempts": "int4", "timeout": "float8", "payload": "text",
}  # fmt: skip
LIMITED = {"weight": "int4", "limit_keys": "text[]"}  # two nulls cost 5 % of a row


def _array(keys: Sequence[str]) -> str:
    """Return texts as Postgres writes an array of them."""
    quoted = (key.replace("\\", r"\\").replace('"', r"\"") for key in keys)
    return "{" + ",".join(f'"{key}"' for key in quoted) + "}"


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
