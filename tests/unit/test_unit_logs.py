"""What a worker logs: one line an event, whatever is in it, and nothing that must not be seen."""

from __future__ import annotations

import json
import logging

import pytest

from pgq import logs


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("pgq", logging.WARNING, __file__, 1, message, args, None)
    made.__dict__.update(extra)
    return made


def test_a_json_line_says_when_how_bad_who_and_what() -> None:
    line = logs.JsonLines().format(record("task %s\nfailed \x1b[31m é", 17, task_id=17, queue="mail", attempt=2))
    assert "\n" not in line
    event = json.loads(line)
    assert event.pop("ts").endswith("+00:00")
    assert event == {
        "level": "warning", "logger": "pgq", "message": "task 17\nfailed \x1b[31m é", "worker": logs.worker_name(),
        "task_id": 17, "queue": "mail", "attempt": 2,
    }  # fmt: skip


def test_a_text_line_is_one_line() -> None:
    assert logs.TextLines().format(record("a\nb\x1bc")).endswith("WARNING a b c")


@pytest.mark.parametrize("formatter", [logs.JsonLines(), logs.TextLines()])
def test_passwords_are_starred_out_of_messages_and_tracebacks(
    formatter: logging.Formatter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_SECRETS", [])
    logs.hide("postgresql://app:s3cr3t@db/shop", "redis://:r3d1s@cache/0", "")
    made = record("cannot connect to %s", "postgresql://app:s3cr3t@db/shop or r3d1s")
    error = OSError("s3cr3t")
    made.exc_info = (OSError, error, None)
    text = formatter.format(made)
    assert "s3cr3t" not in text
    assert "r3d1s" not in text
    assert text.count("***") >= 3
