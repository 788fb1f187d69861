"""What a worker logs: one event a line on stderr, as text for people or as JSON for machines.

A JSON line has `ts` (ISO 8601, UTC), `level`, `logger`, `message`, `worker`, and where it is about a task also
`task_id`, `task`, `queue`, `attempt`: in the worker's own events, and in whatever a handler logs while it runs.
Passwords of the DSN and the Redis URL are starred out. Payloads are never logged; what an error says is the handler's.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from datetime import UTC, datetime
from typing import Any, Literal

from pgq.context import CURRENT
from pgq.redact import without_passwords

Format = Literal["text", "json"]
FORMATS = ("text", "json")
ABOUT = ("task_id", "task", "queue", "attempt")
_SECRETS = [os.environ.get(name, "") for name in ("PGQ_DSN", "DATABASE_URL", "PGQ_REDIS_URL")]


def hide(*urls: str) -> None:
    """Star the passwords of these URLs out from now on."""
    _SECRETS.extend(urls)


def _hidden(text: str) -> str:
    for url in dict.fromkeys(filter(None, _SECRETS)):
        text = without_passwords(text, url)
    return text


class TextLines(logging.Formatter):
    """One line an event for people: time, level, message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line without the traceback, which follows in lines of its own."""
        return _one_line(_hidden(super().formatMessage(record)))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Return the traceback."""
        return _hidden(super().formatException(ei))


class JsonLines(logging.Formatter):
    """One JSON object an event."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        event: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _hidden(record.getMessage()),
            "worker": worker_name(),
            **about(record),
        }
        if record.exc_info:
            event["traceback"] = _hidden(self.formatException(record.exc_info))
        return json.dumps(event, ensure_ascii=False, default=str)


def about(record: logging.LogRecord) -> dict[str, Any]:
    """Return the task that an event is about: the one it names, else the one whose handler logged it."""
    named = {name: getattr(record, name) for name in ABOUT if hasattr(record, name)}
    run = CURRENT.get(None)
    if named or run is None:
        return named
    task = run.task
    return {"task_id": task.id, "task": task.task, "queue": task.queue, "attempt": task.attempts}


def worker_name() -> str:
    """Return the name under which this process registers."""
    return os.environ.get("PGQ_WORKER_NAME") or f"{socket.gethostname()}:{os.getpid()}"


def to_stderr(level: str, form: str) -> None:
    """Log to stderr, here and in the child processes; an app may set logging up differently when it is imported."""
    os.environ.update({"PGQ_LOG_LEVEL": level, "PGQ_LOG_FORMAT": form})
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(handlers=[handler], level=level.upper())


def as_the_parent() -> None:
    """Log as the worker does that started this process; nothing where it says nothing."""
    if form := os.environ.get("PGQ_LOG_FORMAT"):
        to_stderr(os.environ.get("PGQ_LOG_LEVEL", "info"), form)


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)
