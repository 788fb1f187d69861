"""What a scenario brings back, and how it is summed up: median, least and most of the repetitions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Sample:
    """The metrics of one repetition of one case; their names end in their units."""

    case: str
    repetition: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Moment:
    """The metrics of one repetition of one case as they were `at` so many seconds after its start."""

    case: str
    repetition: int
    at: float
    metrics: Mapping[str, float]


@dataclass(slots=True)
class Outcome:
    """All samples of one scenario, what was seen on the way, and why they are not valid, if they are not."""

    scenario: str
    samples: list[Sample] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    series: list[Moment] = field(default_factory=list)

    def add(self, case: str, repetition: int, metrics: Mapping[str, float]) -> None:
        """Take one more sample."""
        self.samples.append(Sample(case, repetition, metrics))

    def join(self, other: Outcome) -> None:
        """Take everything of another run as further repetitions."""
        done = {sample.case: sample.repetition + 1 for sample in self.samples}  # samples of a case are in order
        self.samples += [replace(one, repetition=one.repetition + done.get(one.case, 0)) for one in other.samples]
        self.series += [replace(one, repetition=one.repetition + done.get(one.case, 0)) for one in other.series]
        self.problems += other.problems

    def require(self, holds: bool, problem: str) -> None:
        """Make the run invalid unless something holds."""
        if not holds:
            self.problems.append(problem)


@dataclass(frozen=True, slots=True)
class Spread:
    """A metric over the repetitions."""

    median: float
    min: float
    max: float


def spreads(outcome: Outcome) -> dict[str, dict[str, Spread]]:
    """Return the spread of each metric of each case, in the order in which they were measured."""
    values: dict[str, dict[str, list[float]]] = {}
    for sample in outcome.samples:
        for metric, value in sample.metrics.items():
            values.setdefault(sample.case, {}).setdefault(metric, []).append(value)
    return {
        case: {metric: Spread(median(found), min(found), max(found)) for metric, found in metrics.items()}
        for case, metrics in values.items()
    }


def number(value: float) -> str:
    """Return a figure for people: three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 or value.is_integer() else f"{value:.3g}"


def as_json(outcome: Outcome, top: Mapping[str, tuple[str, str]] | None = None) -> dict[str, Any]:
    """Return the one object that `--json` prints for a scenario; `top` are medians to have beside the cases."""
    found = spreads(outcome)
    cases = {case: {metric: asdict(spread) for metric, spread in metrics.items()} for case, metrics in found.items()}
    medians = {name: found[case][metric].median for name, (case, metric) in (top or {}).items() if case in found}
    return {
        "scenario": outcome.scenario,
        "valid": not outcome.problems,
        "problems": outcome.problems,
        **medians,
        "cases": cases,
    }
