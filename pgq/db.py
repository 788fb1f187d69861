"""A statement is a value (`Call`); `run` and `arun` carry it out on a connection that the caller owns.

Connections may be psycopg's (sync or async), SQLAlchemy's (Session, Connection and their async twins, over psycopg,
psycopg2 or asyncpg), Django's, asyncpg's, or any DB-API connection with `%(name)s` parameters. Each is used through
its own front door, so that its logging, its instruments and its bookkeeping see the statement. Whatever it is, its
transaction stays the caller's: nothing here commits.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from pgq import statements
from pgq.errors import ConfigError, from_sqlstate

Row = tuple[Any, ...]
_NAMED = re.compile(r"%\((\w+)\)s")
# A connection set to stream results would declare a server-side cursor, which cannot hold an insert.
_BUFFERED = {"stream_results": False, "yield_per": None}


@dataclass(frozen=True, slots=True)
class Call:
    """One statement of `sql/queries` with its values."""

    name: str
    values: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The SQL, with `%(name)s` parameters."""
        return statements.query(self.name)


def run(conn: Any, call: Call) -> list[Row]:
    """Carry out a call on a sync connection and return its rows. Raises our errors for our SQLSTATEs."""
    with our_errors():
        if isinstance(conn, psycopg.Connection):
            with conn.cursor(row_factory=tuple_row) as cursor:
                cursor.execute(*_spelled(call, dollars=isinstance(cursor, psycopg.RawCursor)))
                return cursor.fetchall()
        if _is_async(conn):
            raise _refusal(conn, "a sync connection of psycopg, SQLAlchemy or Django; an async one goes to aenqueue")
        if hasattr(conn, "get_bind"):  # an SQLAlchemy Session: its connection for this transaction
            conn = conn.connection()
        if hasattr(conn, "exec_driver_sql"):
            return _tuples(conn.exec_driver_sql(*_spelled_for(conn.dialect, call), _BUFFERED).all())
        if not callable(getattr(conn, "cursor", None)):
            raise _refusal(conn, "an open connection of psycopg, SQLAlchemy or Django")
        with closing(conn.cursor()) as cursor:
            cursor.execute(call.text, call.values)
            return _tuples(cursor.fetchall())


async def arun(conn: Any, call: Call) -> list[Row]:
    """Carry out a call on an async connection and return its rows. Raises our errors for our SQLSTATEs."""
    with our_errors():
        if isinstance(conn, psycopg.AsyncConnection):
            async with conn.cursor(row_factory=tuple_row) as cursor:
                await cursor.execute(*_spelled(call, dollars=isinstance(cursor, psycopg.AsyncRawCursor)))
                return await cursor.fetchall()
        if not _is_async(conn):
            raise _refusal(conn, "an async connection of psycopg, SQLAlchemy or asyncpg; a sync one goes to enqueue")
        if hasattr(conn, "get_bind"):  # an SQLAlchemy AsyncSession
            conn = await conn.connection()
        if hasattr(conn, "exec_driver_sql"):
            result = await conn.exec_driver_sql(*_spelled_for(conn.dialect, call), _BUFFERED)
            return _tuples(result.all())
        if not hasattr(conn, "fetch") or hasattr(conn, "acquire"):  # a pool has no transaction of the caller's
            raise _refusal(conn, "an open async connection of psycopg, SQLAlchemy or asyncpg")
        text, values = positional(call)
        return _tuples(await conn.fetch(text, *values))


def raw(conn: Any) -> psycopg.Connection[Any]:
    """Return the psycopg connection under a sync Session, Connection or Django connection, in its transaction.

    Raises ConfigError when there is none.
    """
    wanted = "a sync one of psycopg for a COPY, or use enqueue_many"
    if _is_async(conn):
        raise _refusal(conn, wanted)
    if hasattr(conn, "get_bind"):
        conn = conn.connection()
    if hasattr(conn, "exec_driver_sql"):
        if not conn.in_transaction():
            conn.begin()
        conn = conn.connection.dbapi_connection
    if hasattr(conn, "ensure_connection"):  # Django's wrapper
        conn.ensure_connection()
        conn = conn.connection
    if not isinstance(conn, psycopg.Connection):
        raise _refusal(conn, wanted)
    return conn


def positional(call: Call) -> tuple[str, list[Any]]:
    """Return the call's text with `$1, $2, …` and the values in that order."""
    text, names = _numbered(call.name)
    return text, [call.values[name] for name in names]


@contextmanager
def our_errors() -> Iterator[None]:
    """Raise our error in place of a driver's that carries one of our SQLSTATEs."""
    try:
        yield
    except Exception as error:
        if ours := from_sqlstate(error):
            raise ours from error
        raise


def _spelled(call: Call, *, dollars: bool) -> tuple[str, Any]:
    return positional(call) if dollars else (call.text, call.values)


def _spelled_for(dialect: Any, call: Call) -> tuple[str, Any]:
    if dialect.paramstyle == "numeric_dollar":
        text, values = positional(call)
        return text, tuple(values)
    return call.text, dict(call.values)


def _tuples(rows: Iterable[Any]) -> list[Row]:
    return [tuple(row.values() if isinstance(row, Mapping) else row) for row in rows]


def _is_async(conn: Any) -> bool:
    return inspect.iscoroutinefunction(getattr(conn, "execute", None)) or hasattr(conn, "fetch")


def _refusal(conn: Any, wanted: str) -> ConfigError:
    kind = type(conn)
    return ConfigError(f"cannot run SQL on {kind.__module__.partition('.')[0]}.{kind.__name__}: give {wanted}")


@cache
def _numbered(name: str) -> tuple[str, tuple[str, ...]]:
    text = statements.query(name)
    names = tuple(dict.fromkeys(_NAMED.findall(text)))
    return _NAMED.sub(lambda match: f"${names.index(match[1]) + 1}", text), names
