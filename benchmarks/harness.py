"""What every scenario gets: a server, sizes, repetitions, a voice; and how it finds scenarios by name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast

from benchmarks import scenarios, server
from benchmarks.results import Outcome

T = TypeVar("T")


class Scenario(Protocol):
    """A module in `benchmarks/scenarios`: its docstring says what is timed, on what, with what durability."""

    __doc__: str | None
    HEADLINE: tuple[str, ...]  # the metrics to draw

    def run(self, bench: Bench) -> Outcome:
        """Measure."""


@dataclass(frozen=True, slots=True)
class Bench:
    """One run: where, how big, how often; `say` takes progress."""

    dsn: str
    quick: bool
    repetitions: int
    say: Callable[[str], None]
    redis_url: str = ""  # empty: there is none

    def size(self, full: T, quick: T) -> T:
        """Return the size for this run."""
        return quick if self.quick else full

    def database(self) -> AbstractContextManager[str]:
        """Return a context with the DSN of a fresh database."""
        return server.database(self.dsn)


def names() -> list[str]:
    """Return the names of all scenarios."""
    return sorted(module.name for module in pkgutil.iter_modules(scenarios.__path__))


def scenario(name: str) -> Scenario:
    """Return a scenario by its name."""
    return cast("Scenario", importlib.import_module(f"benchmarks.scenarios.{name}"))
