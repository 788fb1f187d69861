"""Settings of one process: one frozen object, validated where it is built. Arguments win over PGQ_* over defaults."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pgq.errors import ConfigError

MOST = 100_000  # of anything that is counted
_PREFIX = re.compile(r"pgq[A-Za-z0-9_:.-]*\Z")
LONGEST = 1e9  # seconds: about thirty years, well within what Postgres can add to a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Where the servers are, and the few times that matter; all durations are seconds.

    Raises ConfigError, naming the setting and the value, when one is out of range.
    """

    dsn: str = ""
    redis_url: str = ""
    limit_prefix: str = "pgq"  # what the names of all keys in Redis begin with
    concurrency: int = 20  # tasks one worker process runs at once
    lease: float = 30.0  # silence after which a worker counts as dead
    poll: float = 1.0  # the backstop behind the doorbell
    grace: float = 25.0  # what running tasks get at shutdown
    startup: float = 60.0  # what a child process may take to import the app; no part of any task's timeout
    overdue: float = 10.0  # past its timeout, before a task is taken from a worker that lives
    flush: float = 0.002  # how long outcomes gather before they are written
    upkeep: float = 5.0  # between two rounds of upkeep
    batch: int = 500  # rows a claim takes at most

    def __post_init__(self) -> None:
        """Check every number."""
        for field in fields(self):
            if str(field.type) != "str":
                _check(field.name, getattr(self, field.name))
        if not _PREFIX.match(self.limit_prefix):
            raise ConfigError(
                f"limit_prefix must be letters, digits and _ : . - and begin with 'pgq', got {self.limit_prefix!r}"
            )

    @property
    def heartbeat(self) -> float:
        """Seconds between two heartbeats: a third of the lease, so that two may be lost."""
        return self.lease / 3

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, **given: object) -> Config:
        """Build a Config from arguments (None means not given), then PGQ_* (and DATABASE_URL), then defaults.

        Raises ConfigError when a variable is no number where one is needed.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        for field in fields(cls):
            variable = f"PGQ_{field.name.upper()}"
            if given.get(field.name) is not None:
                values[field.name] = given[field.name]
            elif environ.get(variable):
                values[field.name] = _parse(variable, environ[variable], str(field.type))
        if not values.get("dsn") and environ.get("DATABASE_URL"):
            values["dsn"] = environ["DATABASE_URL"]
        return cls(**values)

    def require_dsn(self) -> str:
        """Return the DSN, or raise ConfigError that says how to give one."""
        if not self.dsn:
            raise ConfigError("no database: give --dsn, or set PGQ_DSN or DATABASE_URL")
        return self.dsn


def _check(name: str, value: float) -> None:
    longest = MOST if name in {"concurrency", "batch"} else LONGEST
    if name in {"grace", "overdue", "flush"}:
        if value < 0:
            raise ConfigError(f"{name} must not be negative, got {value}")
    elif value <= 0:
        raise ConfigError(f"{name} must be above 0, got {value}")
    if not value <= longest:
        raise ConfigError(f"{name} must be at most {longest:g}, got {value}")


def _parse(variable: str, text: str, kind: str) -> object:
    try:
        return {"str": str, "int": int, "float": float}[kind](text)
    except ValueError:
        raise ConfigError(f"{variable} must be a number, got {text!r}") from None
