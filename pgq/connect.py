"""Connections of our own processes: autocommit, named, kept alive, and aware of a pooler in between."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncGenerator
from typing import Any

import psycopg
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo

log = logging.getLogger("pgq")

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


def conninfo(dsn: str, role: str) -> str:
    """Return the DSN with our defaults wherever it says nothing itself."""
    defaults: dict[str, str | int] = {"application_name": f"pgq {role}", "connect_timeout": 10, **_KEEPALIVE}
    return make_conninfo(dsn, **{key: value for key, value in defaults.items() if key not in conninfo_to_dict(dsn)})


def connect(dsn: str, role: str) -> psycopg.Connection:
    """Open a sync connection in autocommit mode. Raises psycopg.OperationalError."""
    conn = psycopg.connect(conninfo(dsn, role), autocommit=True)
    try:
        if _pooled(conn, conn.execute("select pg_backend_pid()").fetchone()):
            conn.prepare_threshold = None
    except BaseException:
        conn.close()
        raise
    return conn


# Whose commits need not wait for the disk: a lost claim is only a re-run, and a later durable commit flushes it.
UNHURRIED = frozenset({"claim"})


async def aconnect(dsn: str, role: str) -> psycopg.AsyncConnection:
    """Open an async connection in autocommit mode. Raises psycopg.OperationalError."""
    conn = await psycopg.AsyncConnection.connect(conninfo(dsn, role), autocommit=True)
    try:
        conn.adapters.register_loader("json", JsonText)
        conn.adapters.register_loader("json", JsonTextBinary)
        cursor = await conn.execute("select pg_backend_pid()")
        # Prepare at first use: the line has a dozen statements and runs them for ever.
        conn.prepare_threshold = None if _pooled(conn, await cursor.fetchone()) else 0
        if role in UNHURRIED and is_direct(conn):
            await conn.execute("set synchronous_commit = off")
    except BaseException:  # cancelled, or lost already
        await conn.close()
        raise
    return conn


def is_direct(conn: psycopg.AsyncConnection) -> bool:
    """Return whether this session is ours alone; not so behind a pooler, where no session state may be used."""
    return conn.prepare_threshold is not None


def _pooled(conn: psycopg.Connection | psycopg.AsyncConnection, row: Any) -> bool:
    return bool(row[0] != conn.pgconn.backend_pid)


async def sessions(dsn: str, role: str, give_up: asyncio.Event) -> AsyncGenerator[psycopg.AsyncConnection, None]:
    """Yield a connection, and a fresh one each time the last was lost, until `give_up` is set.

    Waits 0.1 s to 5 s between attempts, with jitter, for ever: a worker never ends because Postgres does.
    """
    pause = 0.1
    while not give_up.is_set():
        try:
            conn = await aconnect(dsn, role)
        except psycopg.OperationalError as error:
            log.warning("%s: cannot connect, trying again in %.1f s: %s", role, pause, str(error).splitlines()[0])
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(give_up.wait(), pause * random.uniform(0.5, 1))  # noqa: S311 - jitter
            pause = min(pause * 2, 5.0)
            continue
        pause = 0.1
        try:
            yield conn
        finally:
            await conn.close()
