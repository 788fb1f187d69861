"""Connections for pages and actions: a few, kept while they work, opened anew when the database was away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgq.connect import aconnect
from pgq.db import Call, arun

T = TypeVar("T")
MOST = 4  # connections at once; more requests wait for one
ROLE = "dashboard"
# Session settings would stay behind on a pooler's connection, those of a transaction do not.
_READING = "set transaction read only; set local statement_timeout = '5s'; set local timezone = 'UTC'"
_WRITING = "set local statement_timeout = '10s'; set local timezone = 'UTC'"


class Store:
    """The database as pages see it."""

    def __init__(self, dsn: str) -> None:
        self.dsn = make_conninfo(dsn, **({} if "connect_timeout" in conninfo_to_dict(dsn) else {"connect_timeout": 3}))
        self._idle: list[psycopg.AsyncConnection] = []
        self._places = asyncio.Semaphore(MOST)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[psycopg.AsyncConnection]:
        """Lend a connection in a transaction that can only read. Raises psycopg.OperationalError."""
        async with self._transaction(_READING) as conn:
            yield conn

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[psycopg.AsyncConnection]:
        """Lend a connection in a transaction that is committed at the end. Raises psycopg.OperationalError."""
        async with self._transaction(_WRITING) as conn:
            yield conn

    async def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            await self._idle.pop().close()

    @asynccontextmanager
    async def _transaction(self, settings: str) -> AsyncIterator[psycopg.AsyncConnection]:
        async with self._places:
            conn = await self._open()
            try:
                async with conn.transaction():
                    await conn.execute(settings.encode(), prepare=False)
                    yield conn
            finally:
                if conn.closed or conn.broken:
                    await conn.close()
                else:
                    self._idle.append(conn)

    async def _open(self) -> psycopg.AsyncConnection:
        while self._idle:
            conn = self._idle.pop()
            with contextlib.suppress(psycopg.Error):
                await conn.execute("select 1")
                return conn
            await conn.close()
        return await aconnect(self.dsn, ROLE)


async def fetch(conn: psycopg.AsyncConnection, kind: type[T], query: str, values: Mapping[str, Any]) -> list[T]:
    """Return the rows of one statement, each as one of its kind."""
    return [kind(*row) for row in await arun(conn, Call(query, values))]


def sentence(error: BaseException) -> str:
    """Return what went wrong with the database, in one sentence without secrets."""
    if isinstance(error, psycopg.errors.QueryCanceled):
        return "That took the database too long, so it was stopped: narrow it down."
    state = getattr(error, "sqlstate", None)
    if state in {"3F000", "42P01", "42703", "42883"}:
        return "The schema does not fit this version: run `pgq migrate`."
    if isinstance(error, psycopg.OperationalError | OSError):
        return "The database does not answer. This page comes back by itself as soon as it does."
    said = getattr(getattr(error, "diag", None), "message_primary", None)
    return f"The database says: {said or type(error).__name__}"
