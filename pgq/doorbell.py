"""The doorbell: how an idle worker learns of new tasks without polling, and without a NOTIFY per enqueue.

Why: NOTIFY takes a database-wide lock at commit, and enqueue sits in the user's own transaction; so it must ring only
if somebody sleeps. Advisory locks make that exact. A worker that found nothing tries the exclusive lock of its queue
(the bell); every enqueue tries the shared one, until its transaction ends. Enqueue got it: nobody sleeps, no ring,
and nobody can fall asleep before it ends. Enqueue was refused: somebody sleeps, it rings. After getting the bell a
worker looks once more, then sleeps. A second sleeper sees that even the shared lock is refused: a ring will come.
Whoever holds the bell may look without letting go of it: whatever its look misses rings. It lets go when it is busy.

Hazards, each with a test: an enqueue between the last look and the sleep; an enqueue that commits late; a sleeper
that dies with the bell (its lock goes with its connection, polling covers the others); a LISTEN that hears nothing
(a pooler in transaction mode): then nobody takes the bell and polling, always on, is all there is.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable

import psycopg

from pgq.connect import aconnect, is_direct
from pgq.task import CENTURY

log = logging.getLogger("pgq")

CHANNEL = "pgq"
SILENCE = 5.0  # seconds without a word before the connection is asked whether it lives
ANSWER = 5.0  # seconds it may take to answer


def read_id(text: str) -> int:
    """Return the task that a note names; 0 for none. Whoever may connect may notify: a note may say anything."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0  # noqa: PLR2004 - a bigint has 19


def read_seconds(text: str) -> float:
    """Return for how long a note closes a queue; 0 for what is no length of time."""
    try:
        seconds = float(text)
    except ValueError:
        return 0.0
    return seconds if 0 < seconds <= CENTURY else 0.0


class Doorbell:
    """Listens on its own connection and passes each note on as (kind, rest): ring, cancel, settings, closed."""

    def __init__(self, dsn: str, heard: Callable[[str, str], None]) -> None:
        self.works = False
        self._dsn = dsn
        self._heard = heard

    async def listen(self, conn: psycopg.AsyncConnection) -> None:
        """Listen on this connection until it fails. Raises psycopg.Error or TimeoutError then."""
        try:
            if not is_direct(conn) or not await self._hears(conn):
                log.warning("LISTEN does not work through this connection (a pooler?); polling instead")
                await asyncio.sleep(60)
                return
            self.works = True
            self._heard("ring", "")  # whatever was rung while nobody listened
            self._heard("settings", "")  # and what was changed
            while True:
                async for note in conn.notifies(timeout=SILENCE):
                    kind, _, rest = note.payload.partition(":")
                    self._heard(kind, rest)
                await self._still_listening(conn)
        finally:
            self.works = False

    async def _hears(self, conn: psycopg.AsyncConnection) -> bool:
        """Return whether a note sent by another connection arrives here."""
        await conn.execute(f"listen {CHANNEL}")
        nonce = f"probe:{uuid.uuid4()}"
        other = await aconnect(self._dsn, "probe")
        try:
            await other.execute("select pg_notify(%s, %s)", (CHANNEL, nonce))
        finally:
            await other.close()
        async for note in conn.notifies(timeout=2):
            if note.payload == nonce:
                return True
        return False

    async def _still_listening(self, conn: psycopg.AsyncConnection) -> None:
        """Ask the server; a half-open connection does not answer in time. Raises TimeoutError, psycopg.Error."""
        async with asyncio.timeout(ANSWER):
            cursor = await conn.execute("select pg_listening_channels()")
            if (CHANNEL,) not in await cursor.fetchall():
                raise psycopg.OperationalError("this session does not listen any more")
