"""What is asked of the limiter and what it answers: limits by their names, permits, requests, answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2s
from itertools import groupby
from math import inf
from uuid import UUID

from pgq.quota import MICROSECONDS, KeyLimit, Quota

WHATEVER = 2**31 - 1  # units: more than any permit has, so that a report takes none away
FORGOTTEN = "forgotten"  # the server lost its memory: nothing is granted until `hold` has told it what runs

Held = tuple[str, int, int]  # a permit: its name, the units it used, the tasks it runs now
# The same, and perhaps how many microseconds ago a task of it ended last (None: none has), and how many microseconds
# ago all of it had certainly begun (None: perhaps not all has).
Told = Held | tuple[str, int, int, int] | tuple[str, int, int, int | None, int | None]


def since(then: float, now: float) -> int:
    """Return the microseconds from one moment to another (seconds), never too many; 0 for one that is not over."""
    return max(int((now - then) * MICROSECONDS), 0) if then < now else 0


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit on the server: its name, the hash slot it lives in (`place`), and what it allows."""

    place: str
    name: str
    quota: Quota

    @property
    def keys(self) -> tuple[str, str, str]:
        """The keys of its state."""
        stem = f"{self.place}:{self.name}" if self.name else self.place
        return f"{stem}:window", f"{stem}:running", f"{stem}:book"

    @property
    def born(self) -> str:
        """The key that says that the server still knows what it was told."""
        return born_at(self.place)


def queue_limit(prefix: str, queue: str, quota: Quota) -> Limit:
    """Return the limit of a whole queue; each has a hash slot of its own."""
    return Limit(f"{prefix}:{{queue:{queue}}}", "", quota)


def key_limit(prefix: str, key: str, kind: KeyLimit) -> Limit:
    """Return the limit of one key (`kind:key`); all keys share a hash slot, for a task may be under several."""
    return Limit(keys_place(prefix), key, kind.quota)


def mark_of(worker: str) -> str:
    """Return what the names of a worker's queue permits begin with: who sees it die knows them by that."""
    return blake2s(worker.encode(), digest_size=6).hexdigest()


def keys_place(prefix: str) -> str:
    """Return the hash slot of all key limits."""
    return f"{prefix}:{{keys}}"


def settings_at(prefix: str) -> str:
    """Return the key under which workers leave the settings of key limits for callers of `app.limit`."""
    return f"{keys_place(prefix)}:settings"


def born_at(place: str) -> str:
    """Return the key of a hash slot that says that the server still knows what it was told."""
    return f"{place}:born"


def by_place(permits: Iterable[tuple[Limit, Held]]) -> Iterator[list[tuple[Limit, Held]]]:
    """Yield permits as one call can name them: those of one hash slot at a time."""
    for _, group in groupby(sorted(permits, key=_place), key=_place):
        yield list(group)


def _place(permit: tuple[Limit, Held]) -> str:
    return permit[0].place


@dataclass(frozen=True, slots=True)
class Taken:
    """What `take` got: how many permits; seconds until asking again makes sense (None: when a task ends), and why.

    `spare` is how many more it could have got, where nothing was short.
    """

    granted: int
    wait: float | None = 0.0
    short: str = ""
    spare: int = field(default=0, compare=False)  # a hint: it may be gone by now

    @property
    def forgotten(self) -> bool:
        """Whether the server must be told first what runs."""
        return self.short == FORGOTTEN


@dataclass(slots=True)
class Batch:
    """The permits of one claim: `used` units count in the window, `open` tasks have not ended."""

    lease: UUID
    granted: int
    asked_at: float  # before the request was sent, so never later than the grant
    used: int
    open: int
    slack: float  # seconds from the grant in which what it holds should start
    start_by: float = 0.0  # until when what waits in the buffer may start
    ended_at: float = inf  # when the last of those that ended did so
    waiting: int = 0  # tasks of it that have not begun
    begun_at: float | None = None  # when the last of those that began had certainly done so

    def told(self, now: float) -> Told:
        """Return what the limiter should know of it."""
        ended = since(self.ended_at, now)
        begun = None if self.waiting or self.begun_at is None else since(self.begun_at, now)
        return self.lease.hex, self.used, self.open, ended, begun


@dataclass(frozen=True, slots=True)
class Request:
    """One task that asks for all of its limits; `limits` are its keys, `denied` how often it was denied before."""

    permit: str
    limits: tuple[Limit, ...]
    units: int = 1
    priority: int = 5
    denied: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request got; else the seconds after which it should come back (None: never) and which limit it was."""

    granted: bool
    wait: float | None = 0.0
    limit: Limit | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a limit stands: units in the window, tasks running, seconds until a start (None: when a task ends)."""

    used: int
    running: int
    wait: float | None
    paused: float
