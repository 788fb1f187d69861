"""Given something that is no fitting connection, an enqueue says so in one sentence and touches nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import asyncpg
import psycopg
import pytest
from doors import DOORS, async_engine, asyncpg_arguments, engine
from enqueue_app import app, rows, send
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from sqlalchemy.orm import sessionmaker

import pgq

SYNC = [name for name in DOORS if "async" not in name.lower()]
ASYNC = [name for name in DOORS if name not in SYNC]


@pytest.fixture(autouse=True)
def _declared(conn: psycopg.Connection) -> None:
    app.declare(conn)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.mark.parametrize("name", ASYNC)
async def test_an_async_connection_given_to_enqueue(dsn: str, name: str) -> None:
    async with DOORS[name](dsn) as door:
        for call in (send.enqueue, lambda conn, to: send.enqueue_many(conn, [{"to": to}])):
            with pytest.raises(pgq.ConfigError, match="an async one goes to aenqueue") as caught:
                call(door.conn, to="a")
            assert "\n" not in str(caught.value)
        with pytest.raises(pgq.ConfigError, match="give a sync one of psycopg for a COPY, or use enqueue_many"):
            send.copy(door.conn, [{"to": "a"}])
        await door.enqueue(send, to="it still works")


@pytest.mark.parametrize("name", SYNC)
async def test_a_sync_connection_given_to_aenqueue(dsn: str, name: str) -> None:
    async with DOORS[name](dsn) as door:
        with pytest.raises(pgq.ConfigError, match="a sync one goes to enqueue"):
            await send.aenqueue(door.conn, to="a")
        with pytest.raises(pgq.ConfigError, match="a sync one goes to enqueue"):
            await send.aenqueue_many(door.conn, [{"to": "a"}])
        door.commit()
        assert rows(dsn) == []


@pytest.mark.parametrize(
    "wrong", [None, "postgresql://me:secret@host/db", 7, object(), {}], ids=lambda thing: type(thing).__name__
)
async def test_what_is_no_connection_at_all(wrong: Any) -> None:
    for call in (lambda: send.enqueue(wrong, to="a"), lambda: send.enqueue_many(wrong, [{"to": "a"}])):
        with pytest.raises(pgq.ConfigError, match="give an open connection of psycopg, SQLAlchemy or Django") as caught:
            call()
        assert "secret" not in str(caught.value)
    with pytest.raises(pgq.ConfigError, match="give an async connection"):
        await send.aenqueue(wrong, to="a")
    with pytest.raises(pgq.ConfigError, match="give a sync one of psycopg"):
        send.copy(wrong, [{"to": "a"}])


def test_a_pool_a_factory_or_a_cursor_is_no_connection(dsn: str) -> None:
    made = engine("psycopg", dsn)
    with ExitStack() as stack:
        conn = stack.enter_context(psycopg.connect(dsn))
        pool = stack.enter_context(ConnectionPool(dsn, min_size=1, open=True))
        for wrong in (made, sessionmaker(made), pool, conn.cursor()):
            with pytest.raises(pgq.ConfigError, match="give an open connection"):
                send.enqueue(wrong, to="a")


async def test_an_async_pool_a_factory_or_a_cursor_is_no_connection(dsn: str, stack: AsyncExitStack) -> None:
    conn = await stack.enter_async_context(await psycopg.AsyncConnection.connect(dsn))
    pool = await stack.enter_async_context(AsyncConnectionPool(dsn, min_size=1, open=False))
    bare = await stack.enter_async_context(asyncpg.create_pool(**asyncpg_arguments(dsn), min_size=1))
    for wrong in (async_engine("asyncpg", dsn), pool, bare, conn.cursor()):
        with pytest.raises(pgq.ConfigError, match="connection of psycopg, SQLAlchemy or asyncpg"):
            await send.aenqueue(wrong, to="a")
    assert rows(dsn) == []


def test_copy_over_psycopg2_points_to_enqueue_many(dsn: str) -> None:
    conn = pytest.importorskip("psycopg2").connect(dsn)
    with pytest.raises(pgq.ConfigError, match=r"on psycopg2.*: give a sync one of psycopg"):
        send.copy(conn, [{"to": "a"}])
    conn.close()
