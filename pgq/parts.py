"""What the parts of a worker have in common: an error that nobody foresaw ends none of them, and all end together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from time import monotonic

import psycopg

from pgq.connect import sessions
from pgq.redact import first_line

log = logging.getLogger("pgq")

AGAIN = 0.05  # seconds between two goes at the same part
READ_ONLY = 1.0  # seconds until a server that took no writes is asked again

Work = Callable[[psycopg.AsyncConnection], Awaitable[None]]


async def keep(dsn: str, role: str, work: Work, over: asyncio.Event) -> None:
    """Carry out one part on a connection of its own until `over`; a lost connection is replaced."""
    async with contextlib.aclosing(sessions(dsn, role, over)) as connections:
        async for conn in connections:
            try:
                await work(conn)
            except psycopg.errors.ReadOnlySqlTransaction:
                log.warning("%s: this server takes no writes; looking for another in %.0f s", role, READ_ONLY)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), READ_ONLY)
            except (psycopg.Error, TimeoutError, OSError) as error:
                log.warning("%s: %s", role, first_line(error))
            except Exception:
                log.exception("%s failed; it goes on with a new connection", role)
            if not over.is_set():
                await asyncio.sleep(AGAIN)


async def go_on(part: str, work: Callable[[], Awaitable[None]]) -> None:
    """Carry out a part that needs no connection until it returns, and begin again wherever it fails."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("%s failed; it goes on", part)
            await asyncio.sleep(AGAIN)
        else:
            return


async def end(parts: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended: a library in between may swallow a cancellation (wait_for did until 3.12)."""
    left = set(parts)
    while left:
        for part in left:
            part.cancel()
        _, left = await asyncio.wait(left, timeout=0.2)
    await asyncio.gather(*parts, return_exceptions=True)


async def until(reached: Callable[[], bool], seconds: float) -> None:
    """Wait for a condition, at most so many seconds."""
    ends = monotonic() + seconds
    while not reached() and monotonic() < ends:  # noqa: ASYNC110 - only at shutdown
        await asyncio.sleep(0.01)
