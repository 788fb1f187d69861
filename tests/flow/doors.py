"""Every kind of connection that a task can be enqueued on, behind one face, so that one contract covers all."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import psycopg
import pytest
from pooler import UNPREPARED, WANTED
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

import pgq

Handler = pgq.Handler[Any, Any, Any]


@dataclass
class Door:
    """A connection inside a transaction of its owner, who can do to it what owners do."""

    conn: Any
    execute: Callable[[str], Any]
    nested: Callable[[], Any]
    commit: Callable[[], Any]
    rollback: Callable[[], Any]
    is_async: bool = False

    async def enqueue(self, handler: Handler, /, **arguments: Any) -> Any:
        method = handler.aenqueue if self.is_async else handler.enqueue
        return await done(method(self.conn, **arguments))

    async def enqueue_many(self, handler: Handler, payloads: Iterable[dict[str, Any]]) -> list[int]:
        method = handler.aenqueue_many if self.is_async else handler.enqueue_many
        return await done(method(self.conn, payloads))

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        manager = self.nested()
        if hasattr(manager, "__aenter__"):
            async with manager:
                yield
        else:
            with manager:
                yield


async def done(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


@asynccontextmanager
async def psycopg_sync(dsn: str) -> AsyncIterator[Door]:
    conn = psycopg.connect(dsn, prepare_threshold=UNPREPARED)
    yield Door(conn, conn.execute, conn.transaction, conn.commit, conn.rollback)
    conn.close()


@asynccontextmanager
async def psycopg_async(dsn: str) -> AsyncIterator[Door]:
    conn = await psycopg.AsyncConnection.connect(dsn, prepare_threshold=UNPREPARED)
    yield Door(conn, conn.execute, conn.transaction, conn.commit, conn.rollback, is_async=True)
    await conn.close()


@asynccontextmanager
async def psycopg2_connection(dsn: str) -> AsyncIterator[Door]:
    extensions = pytest.importorskip("psycopg2.extensions")
    # SQLAlchemy teaches psycopg2 UUIDs, for the whole process; left alone it knows none.
    extensions.adapters.pop((uuid.UUID, extensions.ISQLQuote), None)
    conn = extensions.connection(dsn)

    def execute(sql: str) -> None:
        with conn.cursor() as cursor:
            cursor.execute(sql)

    @contextmanager
    def nested() -> Iterator[None]:
        execute("savepoint inner_one")
        try:
            yield
        except BaseException:
            execute("rollback to savepoint inner_one")
            raise

    yield Door(conn, execute, nested, conn.commit, conn.rollback)
    conn.close()


@asynccontextmanager
async def asyncpg_connection(dsn: str) -> AsyncIterator[Door]:
    conn = await asyncpg.connect(**asyncpg_arguments(dsn))
    outer = conn.transaction()
    await outer.start()
    yield Door(conn, conn.execute, conn.transaction, outer.commit, outer.rollback, is_async=True)
    await conn.close()


def sqlalchemy_connection(driver: str) -> Callable[[str], AbstractAsyncContextManager[Door]]:
    @asynccontextmanager
    async def opened(dsn: str) -> AsyncIterator[Door]:
        with engine(driver, dsn).connect() as conn:
            yield Door(conn, lambda sql: conn.execute(text(sql)), conn.begin_nested, conn.commit, conn.rollback)

    return opened


def sqlalchemy_session(driver: str) -> Callable[[str], AbstractAsyncContextManager[Door]]:
    @asynccontextmanager
    async def opened(dsn: str) -> AsyncIterator[Door]:
        with Session(engine(driver, dsn)) as session:
            run = session.execute
            yield Door(session, lambda sql: run(text(sql)), session.begin_nested, session.commit, session.rollback)

    return opened


def sqlalchemy_async_connection(driver: str) -> Callable[[str], AbstractAsyncContextManager[Door]]:
    @asynccontextmanager
    async def opened(dsn: str) -> AsyncIterator[Door]:
        async with async_engine(driver, dsn).connect() as conn:
            run = conn.execute
            yield Door(conn, lambda sql: run(text(sql)), conn.begin_nested, conn.commit, conn.rollback, is_async=True)

    return opened


def sqlalchemy_async_session(driver: str) -> Callable[[str], AbstractAsyncContextManager[Door]]:
    @asynccontextmanager
    async def opened(dsn: str) -> AsyncIterator[Door]:
        async with AsyncSession(async_engine(driver, dsn)) as session:
            run, nested = session.execute, session.begin_nested
            yield Door(session, lambda sql: run(text(sql)), nested, session.commit, session.rollback, is_async=True)

    return opened


def engine(driver: str, dsn: str, **settings: Any) -> Any:
    module = pytest.importorskip(driver)
    return create_engine(f"postgresql+{driver}://", creator=lambda: module.connect(dsn), poolclass=NullPool, **settings)


def async_engine(driver: str, dsn: str, **settings: Any) -> Any:
    async def connect() -> Any:
        if driver == "asyncpg":
            return await asyncpg.connect(**asyncpg_arguments(dsn))
        return await psycopg.AsyncConnection.connect(dsn)

    return create_async_engine(f"postgresql+{driver}://", async_creator=connect, poolclass=NullPool, **settings)


def asyncpg_arguments(dsn: str) -> dict[str, Any]:
    """The DSN as asyncpg wants it."""
    given = conninfo_to_dict(dsn)
    names = {"host": "host", "port": "port", "user": "user", "password": "password", "dbname": "database"}
    cache = {"statement_cache_size": 0} if WANTED else {}  # as asyncpg's own documentation has it for PgBouncer
    return {ours: given[theirs] for theirs, ours in names.items() if theirs in given} | cache


DOORS: dict[str, Callable[[str], AbstractAsyncContextManager[Door]]] = {
    "psycopg": psycopg_sync,
    "psycopg async": psycopg_async,
    "psycopg2": psycopg2_connection,
    "asyncpg": asyncpg_connection,
    "Connection over psycopg": sqlalchemy_connection("psycopg"),
    "Connection over psycopg2": sqlalchemy_connection("psycopg2"),
    "Session over psycopg": sqlalchemy_session("psycopg"),
    "Session over psycopg2": sqlalchemy_session("psycopg2"),
    "AsyncConnection over psycopg": sqlalchemy_async_connection("psycopg"),
    "AsyncConnection over asyncpg": sqlalchemy_async_connection("asyncpg"),
    "AsyncSession over psycopg": sqlalchemy_async_session("psycopg"),
    "AsyncSession over asyncpg": sqlalchemy_async_session("asyncpg"),
}
