"""What every scenario gets: a server, sizes, repetitions, a voice; and how it finds scenarios by name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
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
    TOP: Mapping[str, tuple[str, str]]  # may be there: what JSON has beside the cases, each a case and its metric

    def run(self, bench: Bench) -> Outcome:
        """Measure."""


@dataclass(frozen=True, slots=True)
class Bench:
    """One run: where, how big, how often; `say` takes progress.

    `seconds` and `offered` (tasks/s) are what was asked for in place of a scenario's own; `cases` are parts of the
    names of those that were asked for.
    """

    dsn: str
    quick: bool
    repetitions: int
    say: Callable[[str], None]
    redis_url: str = ""  # empty: there is none
    seconds: float | None = None
    offered: float | None = None
    cases: tuple[str, ...] = ()

    def size(self, full: T, quick: T) -> T:
        """Return the size for this run."""
        return quick if self.quick else full

    def length(self, full: float, quick: float) -> float:
        """Return the seconds of a run whose length may be chosen."""
        return self.seconds or self.size(full, quick)

    def wants(self, case: str) -> bool:
        """Return whether a case is to be measured."""
        return not self.cases or any(part in case for part in self.cases)

    def database(self) -> AbstractContextManager[str]:
        """Return a context with the DSN of a fresh database."""
        return server.database(self.dsn)


def names() -> list[str]:
    """Return the names of all scenarios."""
    return sorted(module.name for module in pkgutil.iter_modules(scenarios.__path__))


def scenario(name: str) -> Scenario:
    """Return a scenario by its name, or a measure of the peers, whose names begin with `peers-`."""
    kind, _, measure = name.partition("-")
    module = f"benchmarks.peers.measures.{measure}" if kind == "peers" else f"benchmarks.scenarios.{name}"
    return cast("Scenario", importlib.import_module(module))
