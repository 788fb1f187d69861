"""What a queue is: its limits, its backoff, its settings as code declares them and as the database has them."""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from pgq.errors import InvalidOption, shown

LONGEST = 1e9  # seconds: about thirty years, well within what Postgres can add to a time
YEAR_9999 = datetime(9999, 1, 1, tzinfo=UTC)  # beyond, there are times that Python cannot read back
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}\Z")
LONGEST_KEY = 200  # characters of a limit key


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `max` starts in any window of `per` seconds."""

    max: int
    per: float

    def __post_init__(self) -> None:
        """Refuse what limits nothing."""
        check_count("starts of a rate limit", self.max)
        _seconds("rate limit window", self.per, above_zero=True)


@dataclass(frozen=True, slots=True)
class Fixed:
    """Retry after `delay` seconds, every time; up to `jitter` (a share of it, 0 to 1) is added at random."""

    delay: float
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class Exponential:
    """Retry after `delay * 2 ** (attempts - 1)` seconds, at most `cap`; `jitter` as for Fixed."""

    delay: float
    jitter: float = 0.0
    cap: float = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one queue as `pgq.queues` has them now; the fields are its columns, durations are seconds."""

    name: str
    bell: int = 0
    concurrency: int | None = None
    rate_max: int | None = None
    rate_per: float | None = None
    timeout: float = 60.0
    max_attempts: int = 5
    backoff: str = "exponential"
    delay: float = 5.0
    max_delay: float = 86_400.0
    jitter: float = 0.0
    keep_dead: bool = True
    retention: float = 604_800.0
    on_limiter_down: str = "wait"
    paused: bool = False

    def __post_init__(self) -> None:
        """Refuse what the table would refuse, in one sentence that names the queue."""
        check_name("queue", self.name)
        where = f"of queue {self.name!r}"
        if self.concurrency is not None:
            check_count(f"concurrency {where}", self.concurrency)
        check_count(f"max_attempts {where}", self.max_attempts)
        _seconds(f"timeout {where}", self.timeout, above_zero=True)
        for name in ("delay", "max_delay", "retention"):
            _seconds(f"{name} {where}", getattr(self, name))
        if not (_is_number(self.jitter) and 0 <= self.jitter <= 1):
            raise InvalidOption(f"jitter {where} must be 0 to 1, got {shown(self.jitter)}")
        if not isinstance(self.keep_dead, bool):
            raise InvalidOption(f"keep_dead {where} must be true or false, got {shown(self.keep_dead)}")
        _choice(f"backoff {where}", self.backoff, "fixed", "exponential")
        _choice(f"on_limiter_down {where}", self.on_limiter_down, "wait", "run")

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> Settings:
        """Return the settings of one row of the `settings` statement."""
        return cls(**dict(zip((field.name for field in fields(cls)), row, strict=True)))

    def retry_delay(self, attempts: int) -> float:
        """Return the seconds to wait after the failed attempt number `attempts` (from 1).

        Exponential is `delay * 2 ** (attempts - 1)`: 1, 2, 4, 8, 16 s for a delay of 1 s. The power is capped
        before it can overflow, the result, jitter included, by `max_delay`.
        """
        factor = 2.0 ** min(max(attempts, 1) - 1, 62) if self.backoff == "exponential" else 1.0
        spread = 1 + self.jitter * random.random()  # noqa: S311 - no secret
        return min(self.delay * factor * spread, self.max_delay)

    def declared(self) -> str:
        """Return the declaration as JSON, the way `pgq.queues.declared` keeps it."""
        values = {name: getattr(self, name) for name in DECLARED}
        return json.dumps(values | {name: float(values[name]) for name in SECONDS if values[name] is not None})


DECLARED = (
    "concurrency", "rate_max", "rate_per", "timeout", "max_attempts", "backoff", "delay", "max_delay", "jitter",
    "keep_dead", "retention", "on_limiter_down",
)  # fmt: skip
SECONDS = ("rate_per", "timeout", "delay", "max_delay", "jitter", "retention")


def check_name(what: str, name: object) -> str:
    """Return `name`, or raise InvalidOption: 1 to 100 of letters, digits and `_ . : -`."""
    if not isinstance(name, str) or not NAME.match(name):
        raise InvalidOption(f"{what} name must be 1 to 100 of letters, digits and _ . : -, got {shown(name)}")
    return name


def check_count(what: str, value: object) -> None:
    """Raise InvalidOption unless `value` is a whole number from 1 that Postgres can hold."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidOption(f"{what} must be a whole number, got {shown(value)}")
    if value < 1:
        raise InvalidOption(f"{what} must be at least 1, got {shown(value)}")
    if value >= 2**31:
        raise InvalidOption(f"{what} must be below 2**31, got {shown(value)}")


def check_moment(what: str, value: object) -> None:
    """Raise InvalidOption unless `value` is a datetime that knows its zone, before the year 9999."""
    try:
        early = value < YEAR_9999 if isinstance(value, datetime) and value.utcoffset() is not None else None
    except (ValueError, TypeError):  # of a time zone that is none
        early = None
    if early is None:
        raise InvalidOption(f"{what} must be a datetime with a time zone, got {shown(value)}")
    if not early:
        raise InvalidOption(f"{what} must be before the year 9999, got {shown(value)}")


def _seconds(what: str, value: float, *, above_zero: bool = False) -> None:
    if not _is_number(value):
        raise InvalidOption(f"{what} must be a number of seconds, got {shown(value)}")
    if value < 0 or (above_zero and value == 0):
        least = "be above 0 seconds" if above_zero else "not be negative"
        raise InvalidOption(f"{what} must {least}, got {shown(value)}")
    if value > LONGEST:
        raise InvalidOption(f"{what} must be at most {LONGEST:g} seconds, got {shown(value)}")


def _choice(what: str, value: object, *allowed: str) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise InvalidOption(f"{what} must be {' or '.join(allowed)}, got {shown(value)}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
