"""One look at a rule: what its query finds, read-only and bounded in time and size. And whether a query is a rule."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import psycopg

from pgq.errors import InvalidOption

log = logging.getLogger("pgq")

ROLE = "pgq_monitor"
PATIENCE = 2.0  # seconds a query may take
MOST = 1_000  # things it may find
LONGEST = 2_000  # characters of a message that are kept
KEY = 200  # of a key


@dataclass(frozen=True, slots=True)
class Found:
    """Something wrong: the key tells it from other findings of its rule."""

    key: str
    message: str


async def look(conn: psycopg.AsyncConnection, query: str) -> list[Found]:
    """Return what a rule's query finds; whatever the query does is undone.

    Raises InvalidOption where its rows are no findings, psycopg.Error where it fails or takes too long.
    """
    async with conn.transaction(force_rollback=True):
        await conn.execute("set transaction read only")
        await conn.execute("set local search_path = pgq, pg_catalog, pg_temp")
        await conn.execute("set local lock_timeout = '500ms'")
        await conn.execute(f"set local statement_timeout = {int(PATIENCE * 1000)}")
        await _take_role(conn)
        # A cursor of the server's: one select it is, whatever the text says, and only so many rows are fetched.
        async with conn.cursor("pgq_alert") as cursor:
            await cursor.execute(query.encode())
            rows = await cursor.fetchmany(MOST + 1)
            names = [column.name for column in cursor.description or ()]
    return findings(names, rows)


async def _take_role(conn: psycopg.AsyncConnection) -> None:
    """Become the monitor, which may not read payloads, where there is one and this user may."""
    try:
        async with conn.transaction():
            await conn.execute(f"set local role {ROLE}")
    except (psycopg.errors.InvalidParameterValue, psycopg.errors.InsufficientPrivilege):
        log.debug("alerts: there is no role %s, or this user may not take it", ROLE)


def findings(names: list[str], rows: list[Any]) -> list[Found]:
    """Return rows as findings, each key once. Raises InvalidOption without a message, or for too many rows."""
    if "message" not in names:
        raise InvalidOption(f"its rows must have a column named message, they have: {', '.join(names) or 'none'}")
    if len(rows) > MOST:
        raise InvalidOption(f"it finds more than {MOST} things: let each row stand for many")
    message, key = names.index("message"), names.index("key") if "key" in names else None
    found: dict[str, Found] = {}
    for row in rows:
        known_as = "" if key is None or row[key] is None else _clean(row[key], KEY)
        found.setdefault(known_as, Found(known_as, _clean(row[message], LONGEST)))
    return list(found.values())


def _clean(value: Any, most: int) -> str:
    text = "" if value is None else str(value)
    return "".join(letter if letter.isprintable() else " " for letter in text)[:most]
