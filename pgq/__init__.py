"""pgq: a distributed task queue whose only store is Postgres."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from pgq.version import __version__

if TYPE_CHECKING:
    from pgq.app import App, Queue
    from pgq.config import Config
    from pgq.context import Context, context
    from pgq.errors import (
        ConfigError,
        InvalidOption,
        InvalidPayload,
        LeaseLost,
        LimiterDown,
        LimitExceeded,
        PayloadSealed,
        PgqError,
        SchemaError,
        UniqueKeyTaken,
        UnknownQueue,
        UnknownTask,
    )
    from pgq.permit import Permit
    from pgq.queue import Exponential, Fixed, Rate
    from pgq.quota import KeyLimit
    from pgq.task import Dead, RateLimited, Retry, Snooze
    from pgq.typed import Handler

__all__ = [
    "App",
    "Config",
    "ConfigError",
    "Context",
    "Dead",
    "Exponential",
    "Fixed",
    "Handler",
    "InvalidOption",
    "InvalidPayload",
    "KeyLimit",
    "LeaseLost",
    "LimitExceeded",
    "LimiterDown",
    "PayloadSealed",
    "Permit",
    "PgqError",
    "Queue",
    "Rate",
    "RateLimited",
    "Retry",
    "SchemaError",
    "Snooze",
    "UniqueKeyTaken",
    "UnknownQueue",
    "UnknownTask",
    "__version__",
    "context",
]

# Everything but the version is imported when it is first used: `pgq --help` need not wait for a database driver.
_HOMES = {
    "app": ("App", "Queue"),
    "config": ("Config",),
    "context": ("Context", "context"),
    "errors": (
        "ConfigError",
        "InvalidOption",
        "InvalidPayload",
        "LeaseLost",
        "LimitExceeded",
        "LimiterDown",
        "PayloadSealed",
        "PgqError",
        "SchemaError",
        "UniqueKeyTaken",
        "UnknownQueue",
        "UnknownTask",
    ),
    "permit": ("Permit",),
    "queue": ("Exponential", "Fixed", "Rate"),
    "quota": ("KeyLimit",),
    "task": ("Dead", "RateLimited", "Retry", "Snooze"),
    "typed": ("Handler",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

if not TYPE_CHECKING:  # a type checker should miss what is not there

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"pgq.{_HOME[name]}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    def __setattr__(self, name: str, value: object) -> None:
        # The first import of the module pgq.context would otherwise hide the function pgq.context.
        if not (name == "context" and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
