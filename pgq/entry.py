"""One way in: how code outside any worker gets a permit of a limit that it shares with tasks.

Entering asks the limiter, and waits as long as it says. It knows exactly when a rate or a pause lets the next one in;
when somebody else's work ends it can only guess, so then it is asked again within a quarter of a second. Nobody who
waits here pushes tasks back: a web request may give up any moment, so it takes no place in the line of those who were
told a time.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any, Literal, Self, get_args

from pgq.errors import InvalidOption, LimiterDown, LimitExceeded, shown
from pgq.grants import Answer, Limit, Request
from pgq.limit import acquire, answers, pause, stamp
from pgq.limiter import RedisError
from pgq.queue import LONGEST, check_count
from pgq.quota import KeyLimit, check_key
from pgq.renewal import Book, Holding, Talk

OnDown = Literal["raise", "wait", "run"]

NAP = 0.25  # seconds: longest wait where the limiter can only guess, or is away
FIRST_NAP = 0.005  # seconds: shortest of those; it doubles with each denial
RECHECK = 5.0  # seconds: longest wait for a rate, which may have been raised meanwhile
STAMPS = 3  # tries to get a permit that arrives in time; a server further away than its slack never gives one
SHORTEST_HOLD = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is asked for: a permit of one key, and how. Seconds; raises InvalidOption."""

    kind: KeyLimit
    key: str
    weight: int = 1
    timeout: float | None = None
    hold: float = 60.0
    on_down: OnDown = "raise"

    def __post_init__(self) -> None:
        """Check each."""
        check_count("weight", self.weight)
        if self.timeout is not None:
            check_seconds("timeout", self.timeout, 0)
        check_seconds("hold", self.hold, SHORTEST_HOLD)
        if self.on_down not in get_args(OnDown):
            raise InvalidOption(f"on_down must be raise, wait or run, got {shown(self.on_down)}")

    @classmethod
    def of(cls, kind: KeyLimit, key: str, **how: Any) -> Self:
        """Return terms for `key`, without its kind."""
        if not isinstance(key, str):
            raise InvalidOption(f"key of limit {kind.name!r} must be text, got {shown(key)}")
        return cls(kind=kind, key=check_key(f"{kind.name}:{key}"), **how)


@dataclass(frozen=True, slots=True)
class _Denial:
    """No permit: seconds until there may be one and until the next try; `certain` if none can come sooner."""

    wait: float
    again: float
    certain: bool = False


class Entry:
    """One way in: asks until there is a permit, or no time. Its methods are talks, see `renewal`."""

    def __init__(self, terms: Terms, book: Book, clock: Callable[[], float] = monotonic) -> None:
        self.holding: Holding | None = None
        self._terms, self._book, self._clock = terms, book, clock
        self._again = clock()
        self._deadline = inf if terms.timeout is None else self._again + terms.timeout
        self._name = _new_name()
        self._asked: float | None = None  # since when a permit may have been granted
        self._denials = 0

    @property
    def left(self) -> float | None:
        """Seconds until the timeout."""
        return None if self._deadline == inf else max(self._deadline - self._clock(), 0.0)

    def once(self) -> Talk[bool]:
        """Ask one time; returns whether to go in. Raises LimitExceeded, LimiterDown, InvalidOption."""
        try:
            denial = yield from self._ask()
        except RedisError as error:
            return self._without(error)
        if denial is not None:
            self._wait(denial)
        return denial is None

    def wait(self) -> Talk[bool]:
        """Ask until it may go in. Raises LimitExceeded, LimiterDown, InvalidOption."""
        entered = False
        while not entered:
            if (seconds := self._again - self._clock()) > 0:
                yield seconds
            entered = yield from self.once()
        return entered

    def begin(self) -> None:
        """Note that whoever was let in goes in now."""
        if self.holding is not None:
            self.holding.begun = self._clock()

    def undo(self) -> Talk[None]:
        """Give back, unused, whatever may have been granted."""
        if self._asked is not None or self.holding is not None:
            yield from self._book.leave(self._held(units=0))

    def _ask(self) -> Talk[_Denial | None]:
        while True:
            limit = yield from self._book.current(self._terms.kind, self._terms.key)
            request = Request(self._name, (limit,), self._terms.weight, denied=1)
            self._asked = self._clock() if self._asked is None else self._asked
            found = answers([request], (yield acquire(self._book.prefix, self._terms.hold, [request])))
            if found is None:
                self._asked = None
                if (left := (yield from self._book.recall())) > 0:
                    return _Denial(left, min(left, NAP))
                continue
            if not found[0].granted:
                self._asked = None
                return self._denied(limit, found[0])
            if (yield from self._in_time(limit)):
                self.holding = self._held(self._terms.weight)
                self._book.add(self.holding)
                return None
            self._name, self._asked = _new_name(), None

    def _in_time(self, limit: Limit) -> Talk[bool]:
        """Make a permit that was long on its way count from now; returns False where it has lapsed."""
        for _ in range(STAMPS):
            sent = self._clock()
            if limit.quota.max is None or self._asked is None or sent - self._asked <= limit.quota.slack:
                break
            (held,) = yield stamp(limit, self._terms.hold, [self._name])
            if not held:
                return False
            self._asked = sent
        return True

    def _denied(self, limit: Limit, answer: Answer) -> _Denial:
        if answer.wait is None:
            most = f"{limit.quota.max}, the rate of limit {self._terms.kind.name!r}"
            raise InvalidOption(f"weight must be at most {most}, got {self._terms.weight}")
        if limit.quota.slots is None:
            return _Denial(answer.wait, min(answer.wait, RECHECK), certain=True)
        shortest = min(FIRST_NAP * 2**self._denials, NAP)
        self._denials = min(self._denials + 1, 10)
        return _Denial(answer.wait, min(max(answer.wait, shortest), NAP))

    def _wait(self, denial: _Denial) -> None:
        now = self._clock()
        left = self._deadline - now
        if left <= 0 or (denial.certain and denial.wait > left):
            raise LimitExceeded(denial.wait, self._terms.key)
        self._again = now + min(denial.again, left)

    def _without(self, error: RedisError) -> bool:
        now = self._clock()
        if self._terms.on_down == "wait" and now < self._deadline:
            self._book.away(error)
            self._again = min(now + NAP, self._deadline)
            return False
        if self._asked is not None:  # it may have been granted all the same
            self._book.owe(self._held(self._terms.weight if self._terms.on_down == "run" else 0))
            self._asked = None
        if self._terms.on_down != "run":
            raise LimiterDown(f"no permit of limit {self._terms.key!r}: the limiter is away: {error}") from error
        self._book.away(error)
        return True

    def _held(self, units: int) -> Holding:
        since = self._clock() if self._asked is None else self._asked
        terms = self._terms
        return Holding(self._name, terms.kind, terms.key, units, terms.hold, since, since)


def throttle(terms: Terms, book: Book, seconds: float) -> Talk[None]:
    """Let nobody in for a while. Raises LimiterDown, unless `on_down` is "run"."""
    try:
        limit = yield from book.current(terms.kind, terms.key)
        yield pause(terms.hold, seconds, [limit])
    except RedisError as error:
        if terms.on_down != "run":
            raise LimiterDown(f"limit {terms.key!r} was not throttled: the limiter is away: {error}") from error
        book.away(error)


def check_seconds(what: str, value: Any, least: float) -> None:
    """Raise InvalidOption unless `value` is a number of seconds from `least`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and least <= value <= LONGEST):
        raise InvalidOption(f"{what} must be {least:g} to {LONGEST:g} seconds, got {shown(value)}")


def _new_name() -> str:
    return f"web/{uuid.uuid4().hex}"
