"""What a request asks for, out of its query or its form: checked here, so that nothing odd reaches the database."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request

STATUSES = ("pending", "processing", "completed", "failed", "dead", "cancelled")
LONGEST = 500  # characters of a value
LARGEST = 64 * 1024  # bytes of a form
MOST = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which tasks; None asks nothing. `older` and `newer` are how long ago, as people write it: 30m, 2h, 7d."""

    queue: str | None = None
    status: str | None = None
    task: str | None = None
    error: str | None = None
    older: str | None = None
    newer: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Filter:
        """Return what is asked for. Raises HTTPException 400 for what nothing can be like."""
        status = text(given, "status")
        if status is not None and status not in STATUSES:
            raise HTTPException(400, f"status must be one of {', '.join(STATUSES)}, got {status!r}")
        found = cls(status=status, **{name: text(given, name) for name in ("queue", "task", "error", "older", "newer")})
        seconds("older", found.older)
        seconds("newer", found.newer)
        return found

    @property
    def given(self) -> dict[str, str]:
        """What was given, by name."""
        return {name: value for name in self.__slots__ if (value := getattr(self, name)) is not None}

    @property
    def query(self) -> str:
        """The same as the query of an address."""
        return urlencode(self.given)


@dataclass(frozen=True, slots=True)
class Place:
    """How far a list of tasks was read: the keys of its last task, as far as its order needs them."""

    id: int = MOST
    at: datetime | None = None
    priority: int = -1

    @classmethod
    def of(cls, written: str | None) -> Place | None:
        """Return the place that `str` wrote. Raises HTTPException 400 for what it never writes."""
        if written is None:
            return None
        found = re.fullmatch(r"(\d{1,19})(?:_(\d{1,18})_(-?\d{1,2}))?", written, re.ASCII)
        if not found or int(found[1]) > MOST:
            raise HTTPException(400, f"there is no such page: {written!r}")
        try:
            at = None if found[2] is None else _EPOCH + timedelta(microseconds=int(found[2]))
        except OverflowError:
            raise HTTPException(400, f"there is no such page: {written!r}") from None
        return cls(int(found[1]), at, int(found[3] or -1))

    def __str__(self) -> str:
        """Write it so that an address can hold it."""
        if self.at is None:
            return str(self.id)
        return f"{self.id}_{(self.at - _EPOCH) // timedelta(microseconds=1)}_{self.priority}"


def text(given: Mapping[str, str], name: str) -> str | None:
    """Return a value without blanks around it, None for an empty one. Raises HTTPException 400."""
    value = given.get(name, "").strip()
    if len(value) > LONGEST:
        raise HTTPException(400, f"{name} must have at most {LONGEST} characters, got {len(value):,}")
    if "\0" in value:
        raise HTTPException(400, f"{name} must be without NUL, got {value!r}")
    return value or None


def seconds(name: str, written: str | None) -> float | None:
    """Return the seconds of 90s, 30m, 2h or 7d. Raises HTTPException 400."""
    if written is None:
        return None
    found = re.fullmatch(r"(\d{1,6})\s*([smhd])", written, re.ASCII)
    if not found:
        raise HTTPException(400, f"{name} must be a time such as 90s, 30m, 2h or 7d, got {written!r}")
    return float(int(found[1]) * _UNITS[found[2]])


def rate(written: str | None) -> float | None:
    """Return the tasks per second of 50. Raises HTTPException 400."""
    if written is None:
        return None
    try:
        found = float(written)
    except ValueError:
        found = 0.0
    if not 0 < found <= 1_000_000:  # noqa: PLR2004 - also false for nan
        raise HTTPException(400, f"rate must be tasks per second, above 0 and at most 1,000,000, got {written!r}")
    return found


def task_id(written: str) -> int:
    """Return an id. Raises HTTPException 404 for what is none."""
    if not re.fullmatch(r"\d{1,19}", written, re.ASCII) or not 0 < int(written) <= MOST:
        raise HTTPException(404, f"There is no task {written!r}.")
    return int(written)


async def form(request: Request) -> dict[str, str]:
    """Return the fields of a form. Raises HTTPException 413 or 415."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise HTTPException(415, "a form must be application/x-www-form-urlencoded")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST:
            raise HTTPException(413, f"a form must have at most {LARGEST:,} bytes")
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def local(address: str | None) -> str:
    """Return where to go next: an address of this dashboard, or its first page for anything else."""
    fine = address is not None and re.fullmatch(r"/(?![/\\])[\x21-\x7e]*", address) and "\\" not in address
    return address if fine and address is not None else "/"
