"""What is known now, in parts, each with a version; whoever watches waits for a newer one.

Nothing is queued for anybody: a browser that is slow finds the newest version of each part when it is ready for more,
and misses what was in between. So a watcher costs a few numbers, however slow or dead it is.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

MOST = 200  # watchers at once


@dataclass(frozen=True, slots=True)
class Part:
    """The newest event of one name, ready to be sent."""

    version: int
    event: bytes


class Hub:
    """The parts, and who watches which of them."""

    def __init__(self) -> None:
        self.watched: Counter[str] = Counter()
        self.joined = asyncio.Event()  # somebody began to watch something
        self.closing = False
        self._watchers = 0
        self._parts: dict[str, Part] = {}
        self._version = 0
        self.news = asyncio.Event()  # set at the next change; then there is another

    def publish(self, name: str, document: str) -> None:
        """Make a JSON document the newest version of a part, and wake whoever waits."""
        self._version += 1
        self._parts[name] = Part(self._version, f"event: {name}\ndata: {document}\n\n".encode())
        self._wake()

    def forget(self, names: Collection[str]) -> None:
        """Drop parts that nobody kept up to date."""
        for name in names:
            self._parts.pop(name, None)

    def close(self) -> None:
        """Let every watcher end."""
        self.closing = True
        self._wake()

    @contextmanager
    def watching(self, names: Collection[str]) -> Iterator[None]:
        """Count as somebody who watches these parts."""
        self.watched.update(names)
        self._watchers += 1
        self.joined.set()
        try:
            yield
        finally:
            self.watched.subtract(names)
            self._watchers -= 1

    @property
    def full(self) -> bool:
        """Whether there is no room for another watcher."""
        return self._watchers >= MOST

    def wanted(self) -> set[str]:
        """Return the parts that somebody watches."""
        return {name for name, count in self.watched.items() if count > 0}

    def newer(self, names: Collection[str], seen: int) -> tuple[bytes, int]:
        """Return the events of these parts that are newer than a version, and the version they are of."""
        found = [part for name, part in self._parts.items() if name in names and part.version > seen]
        return b"".join(part.event for part in found), max((part.version for part in found), default=seen)

    def _wake(self) -> None:
        self.news.set()
        self.news = asyncio.Event()
