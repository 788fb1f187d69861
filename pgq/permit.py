"""The public limiter: `with app.limit(…)` and `async with app.limit(…)`, for code outside any worker.

Of all that wait in one process for one key, only the first asks the limiter; the others stand in line behind it.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from pgq.door import Doors
from pgq.entry import Entry, Terms, check_seconds, throttle
from pgq.renewal import Book

__all__ = ["Doors", "Permit", "Terms"]


class Permit:
    """A permit of a limit, for one `with` or `async with` at a time. Made by `App.limit`."""

    def __init__(self, doors: Doors, url: str, terms: Terms) -> None:
        self._doors, self._url, self._terms = doors, url, terms
        self._entry: Entry | None = None

    def __repr__(self) -> str:
        return f"<permit of limit {self._terms.key!r}>"

    @property
    def held(self) -> bool:
        """Whether the limiter gave it; False inside `with` where `on_down="run"` went in without."""
        return self._entry is not None and self._entry.holding is not None

    def throttle(self, seconds: float) -> None:
        """Let nobody in for a while, tasks included: the server behind this limit said "not now".

        Raises LimiterDown, unless `on_down` is "run".
        """
        check_seconds("seconds", seconds, 0)
        door = self._doors.here(self._url)
        door.run(throttle(self._terms, door.book, seconds))

    async def athrottle(self, seconds: float) -> None:
        """Do the same from an event loop."""
        check_seconds("seconds", seconds, 0)
        door = await self._doors.ahere(self._url)
        await door.run(throttle(self._terms, door.book, seconds))

    def __enter__(self) -> Self:
        door = self._doors.here(self._url)
        entry, entered = self._begin(door.book), False
        try:
            if not door.crowded(self._terms.key):
                entered = door.run(entry.once())
            if not entered:
                with door.line(self._terms.key, entry.left):
                    entered = door.run(entry.wait())
        finally:
            if not entered:
                self._entry = None
                door.run(entry.undo())
            door.keep()
        entry.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        entry, self._entry = self._entry, None
        if entry is not None and entry.holding is not None:
            door = self._doors.here(self._url)
            door.run(door.book.leave(entry.holding))

    async def __aenter__(self) -> Self:
        door = await self._doors.ahere(self._url)
        entry, entered = self._begin(door.book), False
        try:
            if not door.crowded(self._terms.key):
                entered = await door.run(entry.once())
            if not entered:
                async with door.line(self._terms.key, entry.left):
                    entered = await door.run(entry.wait())
        finally:
            if not entered:
                self._entry = None
                await door.run(entry.undo())
            door.keep()
        entry.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        entry, self._entry = self._entry, None
        if entry is not None and entry.holding is not None:
            door = await self._doors.ahere(self._url)
            await door.run(door.book.leave(entry.holding))

    def _begin(self, book: Book) -> Entry:
        if self._entry is not None:
            raise RuntimeError(f"{self!r} is in use: ask app.limit for one of your own")
        self._entry = Entry(self._terms, book)
        return self._entry
