"""Connections of our own processes: autocommit, named, kept alive, and aware of a pooler in between."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import logging
import math
import random
from collections.abc import AsyncGenerator
from time import monotonic
from typing import Any, LiteralString

import psycopg
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgq.redact import first_line

log = logging.getLogger("pgq")

# What anybody else made in `public`, an operator that fits better than the server's own say, is not looked up.
SEARCH_PATH = "pg_catalog, pgq, pg_temp"
# Which backend this is, with that path unless it is a pooler's: one round trip.
_GREET = (
    "select pg_backend_pid(), case when pg_backend_pid() = %s"
    f" then set_config('search_path', '{SEARCH_PATH}', false) end"
)

# A dead peer is noticed within about 15 s, on an idle connection too.
_KEEPALIVE = {
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


class JsonText(Loader):
    """Leave JSON as text: the handler's own run decodes it, so that a bad payload is its own task's problem."""

    def load(self, data: Any) -> str:
        """Return the bytes as text."""
        return bytes(data).decode()


class JsonTextBinary(JsonText):
    """The same for results in binary format; JSON's binary form is its text."""

    format = psycopg.pq.Format.BINARY


DEEP = 100  # brackets that nothing stumbles over, however they are nested


class JsonOrText(Loader):
    """Decode JSON for people to look at; what Python cannot hold stays the text it is, and hides no other row."""

    def load(self, data: Any) -> Any:
        """Return the value."""
        text = bytes(data).decode()
        try:
            value = json.loads(text, parse_float=_finite)
            if text.count("[") + text.count("{") > DEEP:
                copy.deepcopy(value)  # what is no deeper than that can be shown, too
        except (ValueError, RecursionError):
            return text
        return value


def _finite(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def conninfo(dsn: str, role: str) -> str:
    """Return the DSN with our defaults wherever it says nothing itself."""
    defaults: dict[str, str | int] = {"application_name": f"pgq {role}", "connect_timeout": 10, **_KEEPALIVE}
    return make_conninfo(dsn, **{key: value for key, value in defaults.items() if key not in conninfo_to_dict(dsn)})


def connect(dsn: str, role: str) -> psycopg.Connection:
    """Open a sync connection in autocommit mode. Raises psycopg.OperationalError."""
    return connect_and_ask(dsn, role, "null")[0]


def connect_and_ask(dsn: str, role: str, question: LiteralString) -> tuple[psycopg.Connection, Any]:
    """Open a sync connection and return it with the value of an SQL expression, in no more round trips."""
    conn = psycopg.connect(conninfo(dsn, role), autocommit=True)
    try:
        for kind in ("json", "jsonb"):
            conn.adapters.register_loader(kind, JsonOrText)
        row: Any = conn.execute(f"{_GREET}, {question}", (conn.pgconn.backend_pid,)).fetchone()
        if _pooled(conn, row):
            conn.prepare_threshold = None
    except BaseException:
        conn.close()
        raise
    return conn, row[2]


# Meant for the requests of an application, whose role or database we may share: a worker waits and rests for longer.
_TIMEOUTS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout")
_WITH_TRANSACTION_TIMEOUT = 170_000


def untimed(conn: psycopg.Connection | psycopg.AsyncConnection) -> bytes:
    """Return what switches off the timeouts that this session got from its role or database, not from its DSN."""
    names = [*_TIMEOUTS, *["transaction_timeout"] * (conn.info.server_version >= _WITH_TRANSACTION_TIMEOUT)]
    return ";".join(f"set {name} = 0" for name in names if name not in conn.info.options).encode()


# Whose commits need not wait for the disk: a lost claim is only a re-run, and a later durable commit flushes it.
UNHURRIED = frozenset({"claim", "begin"})
# Planned once whatever the values: to plan a claim takes 7 ms, and Postgres would do it five times before it settles.
ON_THE_LINE = frozenset({"claim", "begin", "settle"})


async def aconnect(dsn: str, role: str) -> psycopg.AsyncConnection:
    """Open an async connection in autocommit mode. Raises psycopg.OperationalError."""
    conn = await psycopg.AsyncConnection.connect(conninfo(dsn, role), autocommit=True)
    try:
        conn.adapters.register_loader("json", JsonText)
        conn.adapters.register_loader("json", JsonTextBinary)
        cursor = await conn.execute(_GREET, (conn.pgconn.backend_pid,))
        # Prepare at first use: the line has a dozen statements and runs them for ever.
        conn.prepare_threshold = None if _pooled(conn, await cursor.fetchone()) else 0
        if is_direct(conn):
            await conn.execute(untimed(conn), prepare=False)
        if role in ON_THE_LINE and is_direct(conn):
            await conn.execute("set plan_cache_mode = force_generic_plan")
        if role in UNHURRIED and is_direct(conn):
            await conn.execute("set synchronous_commit = off")
    except BaseException:  # cancelled, or lost already
        await conn.close()
        raise
    return conn


def is_direct(conn: psycopg.Connection | psycopg.AsyncConnection) -> bool:
    """Return whether this session is ours alone; not so behind a pooler, where no session state may be used."""
    return conn.prepare_threshold is not None


def _pooled(conn: psycopg.Connection | psycopg.AsyncConnection, row: Any) -> bool:
    return bool(row[0] != conn.pgconn.backend_pid)


BRIEF = 1.0  # seconds


async def sessions(dsn: str, role: str, give_up: asyncio.Event) -> AsyncGenerator[psycopg.AsyncConnection, None]:
    """Yield a connection, and a fresh one each time the last was lost, until `give_up` is set.

    Waits 0.1 s to 5 s between attempts, with jitter, for ever: a worker never ends because Postgres does. One that was
    given up at once although it was not lost, as it may not write perhaps, counts as such an attempt.
    """
    pause = 0.1
    while not give_up.is_set():
        try:
            conn = await aconnect(dsn, role)
        except psycopg.OperationalError as error:
            log.warning("%s: cannot connect, trying again in %.1f s: %s", role, pause, first_line(error))
            pause = await _rest(pause, give_up)
            continue
        began, lost = monotonic(), True
        try:
            yield conn
            lost = conn.closed
        finally:
            await conn.close()
        pause = 0.1 if lost or monotonic() > began + BRIEF else await _rest(pause, give_up)


async def _rest(pause: float, give_up: asyncio.Event) -> float:
    """Wait for up to so many seconds; returns how long to wait next time."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(give_up.wait(), pause * random.uniform(0.5, 1))  # noqa: S311 - jitter
    return min(pause * 2, 5.0)
