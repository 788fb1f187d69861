"""Errors: one root, one class per thing that can go wrong, one SQLSTATE for each that the database raises."""

from __future__ import annotations


class PgqError(Exception):
    """Root of every error that pgq raises on purpose."""


class ConfigError(PgqError):
    """A setting is missing or out of range."""


class InvalidOption(PgqError, ValueError):  # noqa: N818 - reads as what happened
    """An option of an enqueue is out of range."""


class InvalidPayload(PgqError, ValueError):  # noqa: N818
    """A payload cannot be stored as JSON and read back the same, or does not fit the handler's signature."""


class PayloadSealed(PgqError):  # noqa: N818 - reads as what happened
    """The payload is sealed with a key that this process does not have."""


class UnknownQueue(PgqError, LookupError):  # noqa: N818
    """The queue is not in `pgq.queues`."""


class UnknownTask(PgqError, LookupError):  # noqa: N818
    """No task has this id, or no handler has this name."""


class UniqueKeyTaken(PgqError):  # noqa: N818
    """Another task that has not ended holds the unique key."""


class LeaseLost(PgqError):  # noqa: N818
    """The task was given to another worker; nothing of this run may be recorded."""


class LimitExceeded(PgqError):  # noqa: N818
    """There was no permit within the timeout; one may be there in `retry_after` seconds."""

    def __init__(self, retry_after: float, key: str = "") -> None:
        super().__init__(retry_after, key)
        self.retry_after = retry_after
        self.key = key

    def __str__(self) -> str:
        return f"no permit of limit {self.key!r}: try again in {self.retry_after:.3g} s"


class LimiterDown(PgqError):  # noqa: N818
    """The limiter's server cannot be reached, so nobody knows whether the limit allows it."""


class SchemaError(PgqError):
    """The schema in the database is missing, behind, newer than this version, or somebody else's."""


class EmbeddedError(PgqError):
    """An embedded server cannot be found or started."""


LONGEST_SHOWN = 80


def shown(value: object) -> str:
    """Return a value as a message shows it, at most 80 characters, whatever it is: a repr may be long, or raise."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - of a class of the caller's, or an integer of too many digits
        text = f"<{type(value).__name__}>"
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


BY_SQLSTATE: dict[str, type[PgqError]] = {
    "PQ001": UnknownQueue,
    "PQ002": InvalidOption,
    "PQ003": UniqueKeyTaken,
    "PQ004": UnknownTask,
    "PQ005": SchemaError,
}


def from_sqlstate(error: BaseException) -> PgqError | None:
    """Return our error for one that any driver raised, or None when it is not one of ours.

    Drivers keep the SQLSTATE in different attributes, SQLAlchemy wraps the driver's error in `orig`.
    """
    inner: BaseException | None = error
    while inner is not None:
        state = getattr(inner, "sqlstate", None) or getattr(inner, "pgcode", None)
        if state in BY_SQLSTATE:
            diag = getattr(inner, "diag", None)
            message = getattr(diag, "message_primary", None) or getattr(inner, "message", None) or str(inner)
            return BY_SQLSTATE[state](message)
        inner = getattr(inner, "orig", None) or inner.__cause__
    return None
