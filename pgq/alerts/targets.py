"""The kinds of targets: each checks its settings, shows them without secrets, and sends a note."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pgq.alerts import command, mail, webhook
from pgq.alerts.note import Note


@dataclass(frozen=True, slots=True)
class Kind:
    """What one kind of target can do."""

    check: Callable[[Mapping[str, Any]], None]
    shown: Callable[[Mapping[str, Any]], str]
    send: Callable[[Mapping[str, Any], Note], None]


KINDS: Mapping[str, Kind] = {
    "webhook": Kind(webhook.check, webhook.shown, webhook.send),
    "command": Kind(command.check, command.shown, command.send),
    "mail": Kind(mail.check, mail.shown, mail.send),
}
