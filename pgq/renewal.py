"""What a program without Postgres holds of the limits it shares with tasks, and how the limiter is kept aware of it.

No I/O here. Each method is a talk: a generator that yields what to send, or how long to wait, and is sent the reply.
So threads and event loops hold one and the same conversation; `door` has the two runners.

A hold lapses by itself when its process dies. While the process lives it says so often enough. A server that lost its
memory is told at once, not at the next renewal: nobody else knows of these permits, for they are not in Postgres.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any, TypeVar

from pgq.grants import Limit, Told, born_at, key_limit, keys_place, settings_at, since
from pgq.limit import begin, hold, report
from pgq.limiter import RedisError
from pgq.quota import KeyLimit, Quota
from pgq.redact import first_line
from pgq.script import Verb

log = logging.getLogger("pgq")

BEAT = 0.25  # seconds between two looks at what is held; a hold is at least four of them
FRESH = 1.0  # seconds that settings are good for
PATIENCE = 1.0  # seconds a worker is given to tell a server that lost its memory what runs


@dataclass(frozen=True, slots=True)
class Read:
    """A plain command of the server, word by word."""

    words: tuple[str, ...]


T = TypeVar("T")
Step = Verb | Read | float  # to send, or seconds to wait
Talk = Generator[Step, Any, T]


@dataclass(slots=True, eq=False)
class Holding:
    """One permit: what it is of, the units it takes, after how many silent seconds it lapses. Monotonic times."""

    name: str
    kind: KeyLimit
    key: str
    units: int
    hold: float
    since: float  # not later than it was granted
    said: float  # when the limiter last heard of it
    begun: float | None = None  # when its holder went in
    begun_told: bool = False

    def over(self, now: float) -> Told:
        """Return what the limiter should know when it is given back."""
        return self.name, self.units, 0, 0, None if self.begun is None else since(self.begun, now)


class Book:
    """The permits held through one client, what has not been given back yet, and the settings last read."""

    def __init__(self, prefix: str, clock: Callable[[], float] = monotonic) -> None:
        self.prefix = prefix
        self.held: dict[str, Holding] = {}
        self._owed: dict[str, Holding] = {}  # to be given back
        self._live: dict[str, tuple[float, KeyLimit]] = {}  # by kind: when read, and what was found
        self._born: object = self  # what marks the server's memory; at first like nothing it could say
        self._memory: str | bytes = ""  # the name of a memory of the server's that was not complete
        self._forgot = 0.0  # when that was found
        self._away = False
        self._clock = clock

    @property
    def busy(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.held or self._owed)

    def current(self, kind: KeyLimit, key: str) -> Talk[Limit]:
        """Return the limit of a key with the settings that workers published; those of the declaration without any."""
        read, live = self._live.get(kind.name, (-inf, kind))
        if (now := self._clock()) - read >= FRESH:
            if kind.name in self._live:
                self._live[kind.name] = now, live  # one asks; the others go on with what is known
            text = yield Read(("HGET", settings_at(self.prefix), kind.name))
            live = kind if text is None else KeyLimit(kind.name, _quota(text))
            self._live[kind.name] = self._clock(), live
        return key_limit(self.prefix, key, live)

    def add(self, holding: Holding) -> None:
        """Note a permit that was granted."""
        self.held[holding.name] = holding

    def leave(self, holding: Holding) -> Talk[None]:
        """Give a permit back; where the server is away that is tried again until it has lapsed."""
        self.owe(holding)
        try:
            limit = yield from self.current(holding.kind, holding.key)
            yield report(holding.hold, [(limit, holding.over(self._clock()))])
            self._owed.pop(holding.name, None)
        except RedisError as error:
            self.away(error)

    def owe(self, holding: Holding) -> None:
        """Note a permit that must be given back."""
        holding.said = self._clock()
        self._owed[holding.name] = holding
        self.held.pop(holding.name, None)

    def recall(self) -> Talk[float]:
        """Tell a server without memory what is held here; returns the seconds until it may give permits, 0 for now.

        Workers tell it what Postgres knows to run, and then it gives permits again. But there may be no worker, or
        none that runs now, and web code must not wait for one for ever. So they have a second to come first. It is
        also long enough for every other program to notice and to tell what it holds.
        """
        place = keys_place(self.prefix)
        memory, now = (yield begin(place)), self._clock()
        if memory != self._memory:
            self._memory, self._forgot = memory, now
        yield from self.tell(list(self.held.values()), units=True)
        if (left := self._forgot + PATIENCE - now) > 0:
            return left
        yield hold(PATIENCE, [], place, complete=memory, units=False)
        return 0.0

    def beat(self) -> Talk[None]:
        """Give back what is owed, renew what is due, and all of it where the server's memory is a new one."""
        try:
            yield from self._settle()
            born = yield Read(("GET", born_at(keys_place(self.prefix))))
            now, lost = self._clock(), born != self._born
            due = [holding for holding in list(self.held.values()) if lost or now - holding.said >= holding.hold / 3]
            yield from self.tell(due, units=lost)
            self._born = born
            yield from self._tell_begun()
        except RedisError as error:
            self.away(error)

    def tell(self, holdings: Iterable[Holding], *, units: bool) -> Talk[None]:
        """Say that these permits are held; with `units`, what they used too, as far as the window still counts it."""
        groups: dict[float, list[Holding]] = {}
        for holding in holdings:
            groups.setdefault(holding.hold, []).append(holding)
        for ttl, group in groups.items():
            told = []
            for holding in group:
                limit = yield from self.current(holding.kind, holding.key)
                told.append((limit, (holding.name, self._counting(holding, limit), 1)))
            now = self._clock()
            yield hold(ttl, told, keys_place(self.prefix), complete=False, units=units)
            self._told(group, now)

    def _tell_begun(self) -> Talk[None]:
        """Say who went in, since the last beat: their units need not wait for their end to leave the window."""
        for holding in [one for one in self.held.values() if one.begun is not None and not one.begun_told]:
            limit = yield from self.current(holding.kind, holding.key)
            if limit.quota.max is not None and holding.begun is not None:
                begun = since(holding.begun, self._clock())
                yield report(holding.hold, [(limit, (holding.name, holding.units, 1, None, begun))])
            holding.begun_told = True

    def away(self, error: Exception) -> None:
        """Say once that the server is away."""
        if not self._away:
            log.warning("the limiter is away; permits not given back lapse by themselves: %s", first_line(error))
        self._away = True

    def heard(self) -> None:
        """Note that the server answered."""
        self._away = False

    def _settle(self) -> Talk[None]:
        """Give back what is owed, unless it has lapsed."""
        for holding in list(self._owed.values()):
            if self._clock() - holding.said < holding.hold:
                limit = yield from self.current(holding.kind, holding.key)
                yield report(holding.hold, [(limit, holding.over(self._clock()))])
            self._owed.pop(holding.name, None)

    def _told(self, holdings: Iterable[Holding], now: float) -> None:
        for holding in holdings:
            holding.said = now
            if holding.name not in self.held:  # given back meanwhile, and this may have brought it back to life
                self.owe(holding)

    def _counting(self, holding: Holding, limit: Limit) -> int:
        window = (limit.quota.per or 0.0) + limit.quota.slack
        return holding.units if self._clock() - holding.since < window else 0


def _quota(text: str | bytes) -> Quota:
    found = json.loads(text)
    return Quota(found["rate_max"], found["rate_per"], found["concurrency"])
