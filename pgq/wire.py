"""Tasks and outcomes as JSON lines, between a worker and its child processes."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pgq.task import Dead, Done, Failed, HandBack, Outcome, RateLimited, Recorded, Retry, Snooze, Task

MAX_LINE = 64 * 1_048_576
BEGUN = b"begun\n"  # what a child says when it calls a handler, where it was asked to tell

_OUTCOMES: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Done, RateLimited, Recorded, Retry, Snooze, Dead, Failed, HandBack)
}


def encode_task(task: Task, *, tell: bool = False) -> bytes:
    """Return a task as one line; with `tell`, the child is asked to say when its handler begins."""
    return _line({**asdict(task), "tell": tell})


def decode_task(line: bytes) -> tuple[Task, bool]:
    """Return the task of one line, and whether its start is to be told."""
    values = json.loads(line)
    tell = values.pop("tell")
    for name in ("scheduled_at", "created_at"):
        values[name] = datetime.fromisoformat(values[name])
    return Task(**{**values, "lease": UUID(values["lease"])}), tell


def encode_outcome(outcome: Outcome) -> bytes:
    """Return an outcome as one line."""
    values = {field.name: _plain(getattr(outcome, field.name)) for field in fields(outcome)}
    return _line({"outcome": type(outcome).__name__, **values})


def decode_outcome(values: dict[str, Any]) -> Outcome:
    """Return the outcome of a decoded line."""
    kind = _OUTCOMES[values.pop("outcome")]
    if isinstance(values.get("until"), str):
        values["until"] = datetime.fromisoformat(values["until"])
    outcome: Outcome = kind(**values)
    return outcome


def _plain(value: Any) -> Any:
    return value.total_seconds() if isinstance(value, timedelta) else value


def _line(values: dict[str, Any]) -> bytes:
    return json.dumps(values, default=_text).encode() + b"\n"


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
