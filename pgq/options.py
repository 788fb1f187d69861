"""What one enqueue may say beside a task's arguments, checked before any SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypedDict, get_args

from pgq.errors import InvalidOption, shown
from pgq.handler import Function
from pgq.queue import check_moment
from pgq.quota import KeyLimit, check_keys, fill, kind_of

Conflict = Literal["raise", "skip", "replace", "return_existing"]
FOREVER = 3_155_760_000.0  # seconds in a century: no delay is longer
MAX_TIMEOUT = 1e9
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BIGGEST = 1e300  # no number above it, and no NaN, is taken for a time


class Choices(TypedDict, total=False):
    """The options of one enqueue, all but `on_conflict`; see Options."""

    priority: int
    delay: float | timedelta | None
    scheduled_at: datetime | None
    max_attempts: int | None
    timeout: float | None
    unique_key: str | None
    limit_key: str | Sequence[str] | None
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What one enqueue may say beside the arguments. Seconds; None means the queue's setting.

    `limit_key` is one `kind:key` or several; `weight` is how many units of each of their rates the task takes.
    Raises InvalidOption, naming the option and the value.
    """

    priority: int = 5
    delay: float | timedelta | None = None
    scheduled_at: datetime | None = None
    max_attempts: int | None = None
    timeout: float | None = None
    unique_key: str | None = None
    on_conflict: Conflict = "raise"
    limit_key: str | Sequence[str] | None = None
    weight: int = 1

    def __post_init__(self) -> None:
        """Check each option before any SQL."""
        if not _whole(self.priority, 0, 10):
            raise InvalidOption(f"priority must be 0 to 10, got {shown(self.priority)}")
        if self.max_attempts is not None and not _whole(self.max_attempts, 1, 2**31 - 1):
            raise InvalidOption(f"max_attempts must be 1 to {2**31 - 1}, got {shown(self.max_attempts)}")
        if self.timeout is not None and not 0 < _number("timeout", self.timeout) <= MAX_TIMEOUT:
            most = f"above 0 and at most {MAX_TIMEOUT:g} seconds"
            raise InvalidOption(f"timeout must be {most}, got {shown(self.timeout)}")
        if not _is_conflict(self.on_conflict):
            raise InvalidOption(
                f"on_conflict must be raise, skip, replace or return_existing, got {shown(self.on_conflict)}",
            )
        if not 0 <= self.delay_seconds <= FOREVER:
            raise InvalidOption(f"delay must be 0 seconds to a century, got {shown(self.delay)}")
        if self.scheduled_at is not None:
            check_moment("scheduled_at", self.scheduled_at)
            if self.delay is not None:
                raise InvalidOption("give delay or scheduled_at, not both")
        if self.unique_key is not None:
            _check_key(self.unique_key)
        _check_share(self.limit_key, self.weight)

    @property
    def delay_seconds(self) -> float:
        """The delay in seconds; 0 without one."""
        if isinstance(self.delay, timedelta):
            return self.delay.total_seconds()
        return 0.0 if self.delay is None else _number("delay", self.delay)

    @property
    def limit_keys(self) -> tuple[str, ...]:
        """The limit keys, each once."""
        return () if self.limit_key is None else check_keys(self.limit_key)

    def values(self) -> dict[str, Any]:
        """Return the options as the statements' values."""
        return {
            "priority": int(self.priority),
            "delay": None if self.delay is None else self.delay_seconds,
            "scheduled_at": None if self.scheduled_at is None else _in_utc(self.scheduled_at),
            "max_attempts": self.max_attempts,
            "timeout": None if self.timeout is None else float(self.timeout),
            "limit_keys": None if self.limit_key is None else list(self.limit_keys),
            "weight": None if self.weight == 1 else int(self.weight),
        }

    def changed(self, **options: Any) -> Options:
        """Return a copy with some options changed, checked again."""
        return replace(self, **options)


def check_limits(options: Options, declared: Mapping[str, KeyLimit]) -> None:
    """Raise InvalidOption for a limit key of no declared kind, or a weight that its window could never hold."""
    for key in options.limit_keys:
        kind = declared.get(kind_of(key))
        if kind is None:
            known = ", ".join(declared) or "none"
            raise InvalidOption(f"limit_key {shown(key)} is of no declared kind, this app has: {known}")
        if kind.quota.max is not None and options.weight > kind.quota.max:
            raise InvalidOption(
                f"weight must be at most {kind.quota.max}, the rate of limit {kind.name!r}, got {options.weight}",
            )


def fill_keys(keys: Sequence[str], function: Function, arguments: Mapping[str, Any]) -> list[str]:
    """Return limit keys with each `{argument}` filled from what the function will get, each key once.

    Raises InvalidOption.
    """
    return list(dict.fromkeys(fill(keys, {**function.defaults, **arguments})))


def templates(options: Options, function: Function) -> tuple[str, ...]:
    """Return the limit keys of a task's declaration if any has an `{argument}` to be filled, else none.

    Raises InvalidOption where the function takes no such argument.
    """
    if function.names or not function.signature.parameters:  # else it takes any name
        try:
            fill(options.limit_keys, dict.fromkeys(function.names, "x"))
        except InvalidOption as error:
            raise InvalidOption(f"task {function.name!r} does not take what its limit_key names: {error}") from None
    return options.limit_keys if any("{" in key for key in options.limit_keys) else ()


def check_written(options: Options, function: Function) -> None:
    """Raise InvalidOption for a template among the limit keys of an enqueue, which are taken as written.

    What is written may come from users: filled, it could name another one's key.
    """
    for key in options.limit_keys:
        for name in function.signature.parameters:
            if f"{{{name}}}" in key:
                raise InvalidOption(f"limit_key {shown(key)} is a template: it belongs to the declaration of the task")


def _is_conflict(value: object) -> bool:
    return isinstance(value, str) and value in get_args(Conflict)


def _check_share(limit_key: object, weight: object) -> None:
    if not _whole(weight, 1, 2**31 - 1):
        raise InvalidOption(f"weight must be 1 to {2**31 - 1}, got {shown(weight)}")
    if limit_key is not None:
        check_keys(limit_key)


def _in_utc(moment: datetime) -> datetime:
    """Return the same instant in UTC, which every driver can write; of those long past, one that is past as well."""
    return EPOCH if moment < EPOCH else moment.astimezone(UTC)


def _check_key(key: object) -> None:
    if not isinstance(key, str) or not 1 <= len(key) <= 500 or "\0" in key:  # noqa: PLR2004 - as in the table
        raise InvalidOption(f"unique_key must be 1 to 500 characters without NUL, got {shown(key)}")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise InvalidOption("unique_key must be valid Unicode, got a lone surrogate") from None


def _whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _number(what: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= BIGGEST:
        raise InvalidOption(f"{what} must be a number of seconds, got {shown(value)}")
    return float(value)
