"""However the caller has set up the connection, an enqueue works on it, and leaves it as it was."""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

import asyncpg
import psycopg
import pytest
from doors import async_engine, asyncpg_arguments, engine
from enqueue_app import app, haunt, ids, mail, rows, send
from pooler import OWN_SESSION
from psycopg.rows import class_row, dict_row, namedtuple_row, scalar_row
from sqlalchemy import event, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import pgq


@pytest.fixture(autouse=True)
def _declared(conn: psycopg.Connection) -> None:
    app.declare(conn)


@dataclass
class Person:
    name: str


class Spy(psycopg.Cursor[Any]):
    """A caller's own cursor that counts statements."""

    seen: ClassVar[list[str]] = []

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Spy:
        self.seen.append(str(query))
        return super().execute(query, *args, **kwargs)


class AsyncSpy(psycopg.AsyncCursor[Any]):
    seen: ClassVar[list[str]] = []

    async def execute(self, query: Any, *args: Any, **kwargs: Any) -> AsyncSpy:
        self.seen.append(str(query))
        return await super().execute(query, *args, **kwargs)


def use_sync(conn: Any) -> list[Any]:
    """Enqueue in every way there is; returns the ids."""
    keyed = send.options(unique_key="k", scheduled_at=datetime(2091, 1, 1, tzinfo=UTC))
    return [
        send.enqueue(conn, to="é"),
        *send.enqueue_many(conn, [{"to": "a"}, {"to": "b"}]),
        keyed.enqueue(conn, to="c"),
        send.options(delay=5, timeout=3, max_attempts=2).enqueue(conn, to="d"),
    ]


async def use_async(conn: Any) -> list[Any]:
    keyed = send.options(unique_key="k", scheduled_at=datetime(2091, 1, 1, tzinfo=UTC))
    return [
        await send.aenqueue(conn, to="é"),
        *await send.aenqueue_many(conn, [{"to": "a"}, {"to": "b"}]),
        await keyed.aenqueue(conn, to="c"),
        await send.options(delay=5, timeout=3, max_attempts=2).aenqueue(conn, to="d"),
    ]


ROW_FACTORIES = [dict_row, namedtuple_row, scalar_row, class_row(Person)]
CURSORS = [psycopg.ClientCursor, psycopg.RawCursor, Spy]
ASYNC_CURSORS = [psycopg.AsyncClientCursor, psycopg.AsyncRawCursor, AsyncSpy]


@pytest.mark.parametrize("factory", ROW_FACTORIES)
def test_any_row_factory_of_psycopg_will_do(dsn: str, factory: Any) -> None:
    with psycopg.connect(dsn, row_factory=factory) as conn:
        added = use_sync(conn)
        send.copy(conn, [{"to": "e"}])
        assert conn.row_factory is factory
    assert ids(dsn)[:-1] == added


@pytest.mark.parametrize("factory", ROW_FACTORIES)
async def test_any_row_factory_of_async_psycopg_will_do(dsn: str, factory: Any) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, row_factory=factory) as conn:
        added = await use_async(conn)
        assert conn.row_factory is factory
    assert ids(dsn) == added


@pytest.mark.parametrize("factory", CURSORS)
def test_any_cursor_factory_of_psycopg_will_do(dsn: str, factory: Any) -> None:
    with psycopg.connect(dsn, cursor_factory=factory) as conn:
        added = use_sync(conn)
        send.copy(conn, [{"to": "e"}])
        assert conn.cursor_factory is factory
    assert ids(dsn)[:-1] == added


@pytest.mark.parametrize("factory", ASYNC_CURSORS)
async def test_any_cursor_factory_of_async_psycopg_will_do(dsn: str, factory: Any) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, cursor_factory=factory) as conn:
        added = await use_async(conn)
        assert conn.cursor_factory is factory
    assert ids(dsn) == added


async def test_the_callers_own_cursor_sees_the_statement(dsn: str) -> None:
    Spy.seen.clear()
    AsyncSpy.seen.clear()
    with psycopg.connect(dsn, cursor_factory=Spy) as conn:
        send.enqueue(conn, to="a")
    async with await psycopg.AsyncConnection.connect(dsn, cursor_factory=AsyncSpy) as aconn:
        await send.aenqueue(aconn, to="a")
    assert ["insert into pgq.tasks" in query for query in Spy.seen + AsyncSpy.seen] == [True, True]


@pytest.mark.parametrize("threshold", [0, 1, 5, None])
def test_prepared_statements_may_be_on_or_off(dsn: str, threshold: int | None) -> None:
    with psycopg.connect(dsn, prepare_threshold=threshold) as conn:
        added = [send.options(delay=delay).enqueue(conn, to="a") for delay in [None, 1, 2.5, None, 1] * 3]
        assert conn.prepare_threshold == threshold
    assert ids(dsn) == added


def test_autocommit_means_at_once(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        added = use_sync(conn)
        assert ids(dsn) == added
        assert conn.autocommit
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_a_connection_without_autocommit_is_left_inside_its_transaction(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        send.enqueue(conn, to="a")
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        conn.rollback()
    assert rows(dsn) == []


def test_pipeline_mode_gives_ids_and_typed_errors(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        with conn.pipeline():
            conn.execute("create table orders (n integer)")
            added = use_sync(conn)
            conn.execute("insert into orders values (1)")
            with pytest.raises(pgq.UnknownQueue):
                haunt.enqueue(conn)
        with pytest.raises(pgq.UniqueKeyTaken), conn.transaction(), conn.pipeline():
            send.options(unique_key="k").enqueue(conn, to="x")
    assert ids(dsn) == added


async def test_async_pipeline_mode_gives_ids_and_typed_errors(dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        async with conn.pipeline():
            added = await use_async(conn)
        with pytest.raises(pgq.UniqueKeyTaken):
            async with conn.transaction(), conn.pipeline():
                await send.options(unique_key="k").aenqueue(conn, to="x")
    assert ids(dsn) == added


@OWN_SESSION
@pytest.mark.parametrize("settings", ["-c timezone=Pacific/Kiritimati -c datestyle=SQL,DMY", "-c search_path=nowhere"])
def test_settings_of_the_session_do_not_matter(dsn: str, settings: str) -> None:
    with psycopg.connect(dsn, options=settings) as conn:
        added = use_sync(conn)
        send.options(delay=60).copy(conn, [{"to": "e"}])
    *_, keyed, _, copied = rows(dsn)
    assert ids(dsn)[:-1] == added
    assert keyed["scheduled_at"] == datetime(2091, 1, 1, tzinfo=UTC)
    assert 59 < (copied["scheduled_at"] - copied["created_at"]).total_seconds() < 61


@pytest.mark.parametrize("level", list(psycopg.IsolationLevel))
def test_every_isolation_level_will_do(dsn: str, level: psycopg.IsolationLevel) -> None:
    with psycopg.connect(dsn) as conn:
        conn.isolation_level = level
        added = use_sync(conn)
    assert ids(dsn) == added


def test_a_read_only_transaction_stays_read_only(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.read_only = True
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            send.enqueue(conn, to="a")


def test_a_closed_connection_is_the_drivers_error(dsn: str) -> None:
    conn = psycopg.connect(dsn)
    conn.close()
    with pytest.raises(psycopg.OperationalError, match="closed"):
        send.enqueue(conn, to="a")


@pytest.mark.parametrize("name", ["RealDictCursor", "DictCursor", "NamedTupleCursor", "LoggingCursor"])
def test_any_cursor_factory_of_psycopg2_will_do(dsn: str, name: str) -> None:
    extras = pytest.importorskip("psycopg2.extras")
    connect = extras.LoggingConnection if name == "LoggingCursor" else extras.DictConnection
    conn = connect(dsn)
    if name == "LoggingCursor":
        conn.initialize(io.StringIO())
    else:
        conn.cursor_factory = getattr(extras, name)
    added = use_sync(conn)
    conn.commit()
    conn.close()
    assert ids(dsn) == added


def test_psycopg2_in_autocommit_means_at_once(dsn: str) -> None:
    conn = pytest.importorskip("psycopg2").connect(dsn)
    conn.autocommit = True
    added = use_sync(conn)
    assert ids(dsn) == added
    conn.close()


async def test_asyncpg_without_a_transaction_means_at_once(dsn: str) -> None:
    conn = await asyncpg.connect(**{**asyncpg_arguments(dsn), "statement_cache_size": 0})
    added = await use_async(conn)
    assert ids(dsn) == added
    await conn.close()


async def test_a_connection_taken_from_an_asyncpg_pool_will_do(dsn: str) -> None:
    class Named(asyncpg.Record):
        def __getattr__(self, name: str) -> Any:
            return self[name]

    pool = asyncpg.create_pool(**asyncpg_arguments(dsn), min_size=1, record_class=Named)
    async with pool, pool.acquire() as conn, conn.transaction():
        added = await use_async(conn)
    assert ids(dsn) == added


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_sqlalchemy_in_autocommit_means_at_once(dsn: str, driver: str) -> None:
    with engine(driver, dsn, isolation_level="AUTOCOMMIT").connect() as conn:
        added = use_sync(conn)
        assert ids(dsn) == added
        assert conn.connection.dbapi_connection.autocommit


@pytest.mark.parametrize("driver", ["psycopg", pytest.param("asyncpg", marks=OWN_SESSION)])  # it prepares, then asks
async def test_async_sqlalchemy_in_autocommit_means_at_once(dsn: str, driver: str) -> None:
    async with async_engine(driver, dsn, isolation_level="AUTOCOMMIT").connect() as conn:
        added = await use_async(conn)
        assert ids(dsn) == added


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_sqlalchemy_set_to_stream_results_will_do(dsn: str, driver: str) -> None:
    with engine(driver, dsn, execution_options={"stream_results": True, "yield_per": 1}).begin() as conn:
        added = use_sync(conn)
    assert ids(dsn) == added


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_async_sqlalchemy_set_to_stream_results_will_do(dsn: str, driver: str) -> None:
    async with async_engine(driver, dsn, execution_options={"stream_results": True}).begin() as conn:
        added = await use_async(conn)
    assert ids(dsn) == added


def test_sqlalchemys_instruments_see_the_statement(dsn: str) -> None:
    made = engine("psycopg", dsn)
    seen: list[str] = []
    event.listen(made, "before_cursor_execute", lambda *args: seen.append(args[2]))
    with Session(made) as session, session.begin():
        send.enqueue(session, to="a")
    assert ["insert into pgq.tasks" in statement for statement in seen] == [True]


def test_a_session_that_has_not_begun_begins(dsn: str) -> None:
    with Session(engine("psycopg", dsn)) as session:
        assert not session.in_transaction()
        added = send.enqueue(session, to="a")
        assert session.in_transaction()
        session.commit()
    assert ids(dsn) == [added]


def test_a_session_that_must_be_begun_by_hand_says_so(dsn: str) -> None:
    with Session(engine("psycopg", dsn), autobegin=False) as session:
        with pytest.raises(InvalidRequestError, match="Autobegin is disabled"):
            send.enqueue(session, to="a")
        with session.begin():
            added = send.enqueue(session, to="a")
    assert ids(dsn) == [added]


def test_a_connection_that_has_not_begun_begins_and_can_still_be_committed(dsn: str) -> None:
    with engine("psycopg", dsn).connect() as conn:
        copied = send.copy(conn, [{"to": "b"}])
        conn.commit()
        assert copied == len(ids(dsn)) == 1
        with conn.begin():
            send.enqueue(conn, to="a")
    assert len(ids(dsn)) == 2


@pytest.mark.parametrize("mode", ["conditional_savepoint", "rollback_only", "control_fully", "create_savepoint"])
def test_a_session_inside_somebody_elses_transaction_goes_with_it(dsn: str, mode: Any) -> None:
    with engine("psycopg", dsn).connect() as conn:
        outer = conn.begin()
        with Session(bind=conn, join_transaction_mode=mode) as session:
            send.enqueue(session, to="a")
            send.copy(session, [{"to": "b"}])
            if mode != "control_fully":
                session.commit()
        outer.close()
    assert rows(dsn) == []


def test_a_session_shares_its_transaction_with_its_own_writes(dsn: str) -> None:
    with Session(engine("psycopg", dsn)) as session:
        session.execute(text("create table orders (n integer)"))
        send.enqueue(session, to="a")
        session.rollback()
        assert session.execute(text("select to_regclass('orders')")).scalar() is None
    assert rows(dsn) == []


async def test_scoped_sessions_will_do(dsn: str) -> None:
    registry = scoped_session(sessionmaker(engine("psycopg", dsn)))
    added = use_sync(registry)
    registry.commit()
    registry.remove()
    assert ids(dsn) == added
    aregistry = async_scoped_session(async_sessionmaker(async_engine("asyncpg", dsn)), scopefunc=lambda: None)
    added += [await send.aenqueue(aregistry, to="a")]
    await aregistry.commit()
    await aregistry.remove()
    assert ids(dsn) == added


async def test_an_async_session_that_has_not_begun_begins(dsn: str) -> None:
    async with AsyncSession(async_engine("psycopg", dsn)) as session:
        added = await send.aenqueue(session, to="a")
        assert session.in_transaction()
        await session.commit()
    assert ids(dsn) == [added]


def test_a_queue_knows_its_name() -> None:
    assert (mail.name, repr(send)) == ("mail", "<task send of queue mail>")
