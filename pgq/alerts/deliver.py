"""The task that delivers a note, and the queue it runs in, for workers that opted in.

It is repeated with growing delays for about half an hour. A note that cannot be delivered then has given up: no dead
letter, which a rule would see, but a row of `pgq.alert_notes` that says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgq.alerts.note import DeliveryError, Note
from pgq.alerts.targets import KINDS
from pgq.alerts.watch import TASK
from pgq.app import App
from pgq.connect import connect
from pgq.context import context
from pgq.db import Call, run
from pgq.errors import InvalidOption
from pgq.handler import ALERTS
from pgq.queue import Exponential

ATTEMPTS = 13  # 1, 2, 4, … 256 s, then 300 s: 24 minutes and up


def attach(app: App, dsn: str) -> None:
    """Let an app's workers deliver notes."""
    queue = app.queue(ALERTS, timeout=60, max_attempts=ATTEMPTS, backoff=Exponential(1, jitter=0.2, cap=300),
                      keep_dead=False, retention=86_400)  # fmt: skip

    @queue.task(name=TASK)
    def deliver_alert(note: str) -> None:
        deliver(dsn, note, last=context().attempt >= ATTEMPTS)


def deliver(dsn: str, note_id: str, *, last: bool = False) -> None:
    """Deliver a note unless that is done, and write down how it went. Raises DeliveryError."""
    with connect(dsn, "alerts") as conn:
        for known_as, rule, target, body, sent_at, kind, settings in run(conn, Call("alert_note", {"note": note_id})):
            if sent_at is not None:
                return
            wrong = _send(kind, settings or {}, Note(known_as, rule, target, body))
            run(conn, Call("alert_sent", {"note": note_id, "error": wrong, "last": last and wrong is not None}))
            if wrong is not None:
                raise DeliveryError(wrong)


def _send(kind: str | None, settings: Mapping[str, Any], note: Note) -> str | None:
    """Send a note; returns what went wrong."""
    if kind is None:
        return f"there is no target {note.target} any more"
    try:
        KINDS[kind].send(settings, note)
    except DeliveryError as error:
        return str(error)
    except InvalidOption as error:
        return f"{kind} {note.target}: {error}"
    return None
