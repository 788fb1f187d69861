"""Secrets are in the environment of the workers; the database only names the variables."""

from __future__ import annotations

import os
import re

from pgq.alerts.note import DeliveryError
from pgq.errors import InvalidOption

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}\Z")
OURS = {"PGQ_DSN", "DATABASE_URL", "PGQ_REDIS_URL"}


def check_variable(name: str) -> str:
    """Return the name of a variable. Raises InvalidOption for no name, and for what no target should be sent."""
    if not _NAME.match(name):
        raise InvalidOption(f"{name!r:.80} is no name of an environment variable")
    if name in OURS:
        raise InvalidOption(f"{name} is the worker's own secret: it is sent to nobody")
    return name


def secret(name: str) -> str:
    """Return the value of an environment variable. Raises DeliveryError where it is not set, InvalidOption."""
    value = os.environ.get(check_variable(name), "")
    if not value:
        raise DeliveryError(f"the environment variable {name} is not set on this worker")
    return value
