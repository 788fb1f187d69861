"""Notes of handlers in memory that processes of one host share: how many ran, which, and how long each had waited.

Arrays of notes grow with a run; these do not, and others may read them at any moment at no cost to the server. Each
file has one writer. Notes are a bit per task number, so that a lost or doubled task shows, counters, and a histogram
of waits whose buckets are 3 to 6 % wide.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Sequence
from functools import reduce
from operator import or_
from pathlib import Path

BUCKETS = 640  # of waits, in microseconds: 16 for each doubling
_WAITS = 2
_CELLS = _WAITS + BUCKETS
_BITS = 8 * _CELLS


class Tally:
    """One file of notes; tasks are numbered from 0."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            view = memoryview(mmap.mmap(file.fileno(), 0))
        self._cells = view[:_BITS].cast("q")
        self._bits = view[_BITS:]
        self.present = sum(self._bits[::4096])  # touches every page: memory must not seem to grow as tasks are noted

    @classmethod
    def make(cls, path: Path, most: int) -> Tally:
        """Make the file for up to `most` tasks."""
        path.write_bytes(bytes(_BITS + most // 8 + 1))
        return cls(path)

    @property
    def count(self) -> int:
        """How many executions began."""
        return self._cells[0]

    @property
    def doubled(self) -> int:
        """How many of them were of a task that had begun here before."""
        return self._cells[1]

    @property
    def waits(self) -> list[int]:
        """How many waits fell into each bucket."""
        return self._cells[_WAITS:].tolist()

    @property
    def ran(self) -> int:
        """The numbers of all tasks that began, as bits of one integer."""
        return int.from_bytes(self._bits, "little")

    def note(self, i: int) -> None:
        """Note that task `i` begins; about 0.25 microseconds."""
        place, bit = i >> 3, 1 << (i & 7)
        if self._bits[place] & bit:
            self._cells[1] += 1
        self._bits[place] |= bit
        self._cells[0] += 1

    def note_wait(self, nanoseconds: int) -> None:
        """Note how long a task had waited."""
        self._cells[_WAITS + bucket(nanoseconds // 1000)] += 1

    def add(self, count: int) -> None:
        """Count so many at once, whichever they are."""
        self._cells[0] += count


def bucket(microseconds: int) -> int:
    """Return the bucket of a wait; 0 for a negative one."""
    shift = max(microseconds.bit_length() - 5, 0)
    return min(max((shift << 4) + (microseconds >> shift), 0), BUCKETS - 1)


def percentile(waits: Sequence[int], share: float) -> float:
    """Return the wait in milliseconds that so great a share of all does not exceed; nan when there are none."""
    left = share * sum(waits)
    for place, count in enumerate(waits):
        left -= count
        if count and left <= 0:
            shift, mantissa = max((place >> 4) - 1, 0), place if place < 32 else (place & 15) + 16
            return ((mantissa << shift) + (1 << shift) / 2) / 1000
    return float("nan")


def missing(tallies: Iterable[Tally], tasks: int) -> int:
    """Return how many of the tasks 0 to `tasks` - 1 never began."""
    return tasks - (reduce(or_, (tally.ran for tally in tallies), 0) & ((1 << tasks) - 1)).bit_count()


def doubled(tallies: Sequence[Tally]) -> int:
    """Return how many executions were of a task that had begun before, here or there."""
    total = sum(tally.count for tally in tallies)
    return total - reduce(or_, (tally.ran for tally in tallies), 0).bit_count()
