"""What is told: one note for everything of a rule that fired or recovered since the last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pgq.errors import PgqError

SHOWN = 50  # things that a note spells out; it says how many more there are


class DeliveryError(PgqError):
    """A note did not reach its target; the message names the target and holds no secret."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that fired, and perhaps recovered, of which nobody was told yet; a row of `alert_untold`."""

    id: int
    key: str
    message: str
    fired_at: datetime
    recovered_at: datetime | None


@dataclass(frozen=True, slots=True)
class Note:
    """A note on its way to a target; a row of `alert_note`. `id` is the same at every attempt."""

    id: str
    rule: str
    target: str
    body: Mapping[str, Any]

    @property
    def subject(self) -> str:
        """One line."""
        return f"[pgq] {self.rule}: {self.body['summary']}"

    @property
    def text(self) -> str:
        """All of it, for people."""
        return str(self.body["text"])

    @property
    def document(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {"id": self.id, "target": self.target, **{k: v for k, v in self.body.items() if k != "alerts"}}


def body(rule: str, alerts: Sequence[Alert]) -> dict[str, Any]:
    """Return what a note says, as JSON: `text` for people (chat services show it), the rest for programs."""
    firing = [alert for alert in alerts if alert.recovered_at is None]
    recovered = [alert for alert in alerts if alert.recovered_at is not None]
    parts = [f"{len(firing)} firing"] if firing else []
    parts += [f"{len(recovered)} recovered"] if recovered else []
    summary = ", ".join(parts)
    lines = [f"FIRING {alert.message}" for alert in firing] + [f"RECOVERED {alert.message}" for alert in recovered]
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return {
        "rule": rule,
        "summary": summary,
        "text": "\n".join([f"pgq alert {rule}: {summary}", *lines[:SHOWN], *more]),
        "firing": [_thing(alert) for alert in firing[:SHOWN]],
        "recovered": [_thing(alert) for alert in recovered[:SHOWN]],
        "alerts": [alert.id for alert in alerts],
    }


def _thing(alert: Alert) -> dict[str, str]:
    thing = {"key": alert.key, "message": alert.message, "since": alert.fired_at.isoformat()}
    return thing if alert.recovered_at is None else {**thing, "until": alert.recovered_at.isoformat()}
