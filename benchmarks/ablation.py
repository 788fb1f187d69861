"""Mechanisms of pgq taken out of a benchmark's worker, so that the product carries no switches for them.

Each is a piece of pgq replaced in this process before the worker starts; where there is no such piece any more, that
fails loudly. `uvloop` is left out by the worker process itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pgq import connect
from pgq.cursor import Cursor
from pgq.doorbell import Doorbell
from pgq.lane import Lane
from pgq.settle import Settler


def take_out(mechanisms: Iterable[str]) -> None:
    """Take these mechanisms out of this process. Raises KeyError for one that is unknown."""
    for mechanism in mechanisms:
        OUT[mechanism]()


def without_cursor() -> None:
    """Let claims begin at the beginning each time."""
    _replace(Cursor, "advance", lambda *_: None)


def without_claim_batch() -> None:
    """Let a claim take one task at most."""
    appetite = Lane.appetite
    _replace(Lane, "appetite", lambda lane, free: min(appetite(lane, free), 1))


def without_settle_batch() -> None:
    """Let each outcome be a statement and a transaction of its own."""
    _replace(Settler, "write", _write_one_by_one)


def without_asynchronous_claims() -> None:
    """Let a claim wait for the disk, as every other commit."""
    _replace(connect, "UNHURRIED", frozenset())


def without_doorbell() -> None:
    """Let nobody listen, so that nobody takes the bell and everybody polls."""

    async def deaf(*_: object) -> None:
        await asyncio.Event().wait()

    _replace(Doorbell, "listen", deaf)


OUT: Mapping[str, Callable[[], None]] = {
    "uvloop": lambda: None,
    "cursor": without_cursor,
    "claim batch": without_claim_batch,
    "settle batch": without_settle_batch,
    "asynchronous claims": without_asynchronous_claims,
    "doorbell": without_doorbell,
}


async def _write_one_by_one(self: Any, conn: Any) -> None:
    while True:
        if not self._writing:
            await self._some.wait()
            self._writing = [self._waiting.pop(0)]
            if not self._waiting:
                self._some.clear()
        await self._write_batch(conn)
        self._writing = []
        if not self._waiting:
            self._all_written.set()


def _replace(owner: Any, name: str, piece: object) -> None:
    """Put a piece in the place of one that must be there."""
    if not hasattr(owner, name):
        raise AttributeError(f"{owner!r} has no {name} to replace")
    setattr(owner, name, piece)
