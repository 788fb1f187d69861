"""What a task is at each moment, and what can come out of a run: frozen values, and `judge`, which decides."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, assert_never
from uuid import UUID

from pgq.errors import InvalidOption, shown
from pgq.queue import LONGEST_KEY, Settings, check_moment
from pgq.redact import first_line

MAX_ERROR = 2_000  # characters of last_error
MAX_TRACEBACK = 20_000  # characters of traceback, its end
KEY_WANTED = 60.0  # seconds until a task comes back whose payload could not be opened for want of its key
CENTURY = 3_155_760_000.0  # seconds


@dataclass(slots=True)  # not frozen: that costs 1.6 µs a task, a fifteenth of all there is to a no-op (2026-11-23)
class Task:
    """A claimed task; the fields are the columns. `payload` is JSON text, `timeout` seconds. Nobody changes one."""

    queue: str
    lease: UUID
    id: int
    scheduled_at: datetime
    task: str
    priority: int
    payload: str
    attempts: int
    max_attempts: int
    timeout: float
    crashes: int
    created_at: datetime
    limit_keys: list[str] | None = None
    weight: int | None = None
    bounces: int = 0
    trace: str | None = None

    @property
    def cancel_proof(self) -> str:
        """What a note must carry to end its run: anybody may notify, but only who may read leases can make this."""
        return sha256(f"{self.id}:{self.lease}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Done:
    """The run succeeded."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Count the attempt as failed and try again `after` seconds (or a timedelta); None: the queue's backoff.

    On the last attempt the task is dead instead.
    """

    after: float | timedelta | None = None
    reason: str = "the handler asked for a retry"

    def __post_init__(self) -> None:
        """Refuse, inside the handler that asks, what could not be written later."""
        if self.after is not None:
            _check_length("Retry after", self.after)
        _check_text("Retry reason", self.reason)


@dataclass(frozen=True, slots=True)
class Snooze:
    """Run again `until` a moment (aware datetime), or that many seconds from now; the attempt is not counted."""

    until: datetime | timedelta | float

    def __post_init__(self) -> None:
        """Refuse, inside the handler that asks, what could not be written later."""
        if not isinstance(self.until, datetime):
            _check_length("Snooze until", self.until)
        else:
            check_moment("Snooze until", self.until)

    @property
    def due(self) -> datetime | None:
        """The moment, if one was given."""
        return self.until if isinstance(self.until, datetime) else None

    @property
    def after(self) -> float | None:
        """The seconds from now, if a length was given."""
        return None if isinstance(self.until, datetime) else _seconds(self.until)


@dataclass(frozen=True, slots=True)
class Dead:
    """Give up at once: no attempt is left for this task, whatever its max_attempts."""

    reason: str

    def __post_init__(self) -> None:
        """Refuse, inside the handler that asks, what could not be written later."""
        _check_text("Dead reason", self.reason)


@dataclass(eq=False)
class RateLimited(Exception):  # noqa: N818 - reads as what happened
    """Somebody else's server said "not now": raise or return it, and the task comes back in `retry_after` seconds.

    Until then nothing starts under the task's limit keys (or under `key` alone, or in its whole queue where it has no
    key). The attempt is not counted.
    """

    retry_after: float | timedelta
    key: str | None = None

    def __post_init__(self) -> None:
        """Refuse, inside the handler that asks, what could not be written later."""
        _check_length("RateLimited retry_after", self.retry_after)
        if self.key is not None:
            _check_text("RateLimited key", self.key)
            if not self.key.isprintable() or len(self.key) > LONGEST_KEY:
                most = f"printable text of at most {LONGEST_KEY} characters"
                raise InvalidOption(f"RateLimited key must be {most}, got {shown(self.key)}")
        super().__init__(f"retry after {self.retry_after}")

    @property
    def seconds(self) -> float:
        """How long."""
        return _seconds(self.retry_after)


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed; `error` is one line, `trace` where it was raised."""

    error: str
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """The handler completed the task in its own transaction: nothing is left to write."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Somebody asked for the task to stop, and it did."""


@dataclass(frozen=True, slots=True)
class HandBack:
    """The task goes back to its place, and the attempt is not counted: it had not started, or its worker stops."""


@dataclass(frozen=True, slots=True)
class Throttled:
    """A limit let the task not start; it comes back in `after` seconds, and the attempt is not counted."""

    after: float
    limit_key: str


@dataclass(frozen=True, slots=True)
class Sealed:
    """Its payload could not be opened for want of its key; it comes back a while later, the attempt is not counted."""

    reason: str


Written = Done | Retry | Snooze | Sealed | Dead | Failed | Cancelled | HandBack | Throttled | RateLimited
Outcome = Written | Recorded


@dataclass(frozen=True, slots=True)
class Settled:
    """What settle writes for one task: a new status, and where it goes in time (`due`, or `after` seconds)."""

    status: str
    due: datetime | None = None
    after: float | None = None
    refund: int = 0
    error: str | None = None
    traceback: str | None = None
    limit_key: str | None = None


COMPLETED = Settled("completed")


def judge(task: Task, queue: Settings, outcome: Written) -> Settled:  # noqa: C901 - one case an outcome
    """Return what to write for an outcome; pure, so its test is a table."""
    match outcome:
        case Done():
            return COMPLETED
        case Snooze():
            return Settled("pending", due=outcome.due, after=outcome.after, refund=1)
        case Sealed(reason=reason):
            return Settled("pending", after=KEY_WANTED, refund=1, error=reason)
        case Dead(reason=reason):
            return _buried(queue, clean(reason, MAX_ERROR), None)
        case Retry(after=after, reason=reason):
            return _again(task, queue, None if after is None else _seconds(after), clean(reason, MAX_ERROR), None)
        case Failed(error=error, trace=trace):
            return _again(task, queue, None, error, trace)
        case Cancelled():
            return Settled("cancelled", error="cancelled while it ran")
        case Throttled(after=after, limit_key=limit_key):
            return Settled("pending", after=after, refund=1, limit_key=limit_key)
        case RateLimited(seconds=seconds, key=key):
            blocker = key or next(iter(task.limit_keys or ()), f"queue:{task.queue}")
            return Settled("pending", after=seconds, refund=1, limit_key=blocker)
        case HandBack():
            return Settled("pending", refund=1)
        case _:  # pragma: no cover
            assert_never(outcome)


def failure(error: BaseException) -> Failed:
    """Return the failed attempt that an exception stands for, fit to be stored."""
    trace = _had(lambda: "".join(traceback.format_exception(error)), "(its traceback cannot be had)")
    said = _had(lambda: _said(error), "(its text cannot be had)")
    return Failed(clean(f"{type(error).__qualname__}: {said}", MAX_ERROR), clean(trace, -MAX_TRACEBACK))


def _said(error: BaseException) -> str:
    """Return what an exception says; of a database's error the first line, for the others quote rows and parameters."""
    of_database = any(hasattr(error, name) for name in ("sqlstate", "pgcode", "orig"))
    return first_line(error) if of_database else str(error)


def sound(outcome: Any) -> Outcome:
    """Return what a handler asked for, or the failed attempt that it is where it was made past its own checks."""
    try:
        match outcome:
            case Retry():
                Retry.__post_init__(outcome)
            case Snooze():
                Snooze.__post_init__(outcome)
            case Dead():
                Dead.__post_init__(outcome)
            case RateLimited():
                RateLimited.__post_init__(outcome)
    except Exception as error:  # noqa: BLE001 - a subclass is the handler's code too
        return failure(error)
    asked: Outcome = outcome
    return asked


def _had(text: Callable[[], str], without: str) -> str:
    try:
        return text()
    except BaseException:  # noqa: BLE001 - its __str__ is the handler's code too, and groups may be nested too deep
        return without


def clean(text: str, limit: int) -> str:
    """Return `text` as Postgres can store it: no NUL, no lone surrogates; cut to `limit` (negative: keep the end)."""
    text = text[:limit] if limit >= 0 else text[limit:]
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _again(task: Task, queue: Settings, after: float | None, error: str, trace: str | None) -> Settled:
    if task.attempts >= task.max_attempts:
        return _buried(queue, error, trace)
    delay = queue.retry_delay(task.attempts) if after is None else after
    return Settled("pending", after=delay, error=error, traceback=trace)


def _buried(queue: Settings, error: str, trace: str | None) -> Settled:
    return Settled("dead" if queue.keep_dead else "failed", error=error, traceback=trace)


def _seconds(length: float | timedelta) -> float:
    return max(length.total_seconds() if isinstance(length, timedelta) else float(length), 0.0)


def _check_length(what: str, length: object) -> None:
    seconds = length.total_seconds() if isinstance(length, timedelta) else length
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not -CENTURY <= seconds <= CENTURY:
        raise InvalidOption(f"{what} must be seconds or a timedelta, at most a century, got {shown(length)}")


def _check_text(what: str, text: object) -> None:
    if not isinstance(text, str):
        raise InvalidOption(f"{what} must be text, got {shown(text)}")
