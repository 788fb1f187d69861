"""What handlers noted: which task began when. The only judge of what was lost or done twice."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.results import Outcome


@dataclass(frozen=True, slots=True)
class Notes:
    """Numbers of tasks and the moments at which their handlers began (nanoseconds), in step."""

    executed: array[int] = field(default_factory=lambda: array("q"))
    started_at: array[int] = field(default_factory=lambda: array("q"))

    @classmethod
    def read(cls, paths: Iterable[Path]) -> Notes:
        """Read what the programs wrote: both arrays one after the other."""
        notes = cls()
        for path in paths:
            values = array("q", path.read_bytes())
            half = len(values) // 2
            notes.executed.extend(values[:half])
            notes.started_at.extend(values[half:])
        return notes

    def check(self, outcome: Outcome, where: str, tasks: int, *, all_ran: bool = True) -> None:
        """Make the run invalid when a task ran twice, or one that was not enqueued, or unless all ran."""
        ran, doubled, strange = bytearray(tasks), 0, 0  # a set of millions of numbers would take a hundred bytes each
        for i in self.executed:
            if not 0 <= i < tasks:
                strange += 1
            else:
                doubled += ran[i]
                ran[i] = 1
        lost = tasks - sum(ran) if all_ran else 0
        outcome.require(doubled == 0, f"{where}: {doubled} tasks ran twice")
        outcome.require(strange == 0, f"{where}: {strange} tasks ran that nobody had enqueued")
        outcome.require(lost == 0, f"{where}: {lost} tasks never ran")

    def between(self, begin: float, end: float) -> float:
        """Return the starts per second between two moments (seconds of CLOCK_MONOTONIC)."""
        return per_second(self.started_at, begin, end)


def per_second(moments: Sequence[int], begin: float, end: float) -> float:
    """Return how many moments (nanoseconds) lie in a stretch (seconds), by its length."""
    least, most = begin * 1e9, end * 1e9
    return sum(least <= moment < most for moment in moments) / (end - begin)
