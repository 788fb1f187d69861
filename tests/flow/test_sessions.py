"""Sessions of a worker: no timeout that was meant for others, and no session kept that may not write."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from time import monotonic

import psycopg
import pytest
from pooler import OWN_SESSION
from psycopg.conninfo import make_conninfo

from pgq import connect
from pgq.config import Config
from pgq.connect import aconnect, sessions
from pgq.upkeep import Upkeep

TIMEOUTS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout")


@pytest.fixture
def hasty(conn: psycopg.Connection, dsn: str) -> str:
    """Return a database that ends whatever takes longer than a moment."""
    for name in TIMEOUTS:
        conn.execute(f"alter database {conn.info.dbname} set {name} = '7s'")
    return dsn


async def shown(dsn: str) -> list[str]:
    async with await aconnect(dsn, "claim") as conn:
        return [(await (await conn.execute(f"show {name}")).fetchall())[0][0] for name in TIMEOUTS]


@OWN_SESSION
async def test_a_worker_s_sessions_have_no_timeouts_of_their_database(hasty: str) -> None:
    assert await shown(hasty) == ["0"] * 4


@OWN_SESSION
async def test_a_timeout_that_the_dsn_asks_for_is_kept(hasty: str) -> None:
    assert await shown(make_conninfo(hasty, options="-c statement_timeout=9s")) == ["9s", "0", "0", "0"]


async def five_sessions(dsn: str, *, lost: bool) -> float:
    """Return how long it takes to get five sessions that are given up at once, or lost."""
    over, began, count = asyncio.Event(), monotonic(), 0
    async for session in sessions(dsn, "claim", over):
        count += 1
        if lost:
            await session.close()
        if count == 5:
            over.set()
    return monotonic() - began


async def test_sessions_that_are_of_no_use_come_ever_more_slowly(dsn: str) -> None:
    assert await five_sessions(dsn, lost=False) > (0.1 + 0.2 + 0.4 + 0.8) / 2


async def test_sessions_that_are_lost_are_replaced_without_a_pause(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rested = []

    async def rest(pause: float, _: asyncio.Event) -> float:
        rested.append(pause)
        return pause

    monkeypatch.setattr(connect, "_rest", rest)
    await five_sessions(dsn, lost=True)
    assert rested == []


async def test_upkeep_asks_for_another_session_where_its_own_may_not_write(
    conn: psycopg.Connection, config: Config
) -> None:
    conn.execute(f"alter database {conn.info.dbname} set default_transaction_read_only = on")

    async def nothing(_: psycopg.AsyncConnection) -> None:
        """Watch no limits."""

    async with await aconnect(config.dsn, "upkeep") as session:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await asyncio.wait_for(Upkeep(replace(config, upkeep=0.01), nothing).work(session), 10)
