"""Where to begin looking in a queue: the cursor.

Why: every claim leaves a dead index entry behind. Autovacuum cannot remove them while any transaction is older, nor
fast enough at full speed, and a claim that walks them all gets slower and slower. So each process remembers, per
priority, the due time before which it just found nothing, and starts there. It is a hint, never a truth: it lags, it
is ignored by a full sweep four times a second (where that is dear, less often), and whatever was committed late, in a
longer transaction, or handed back is found by that sweep.

Hazards, each with a test: a transaction that commits later than the lag; a row handed back at its old due time; a
claim by another worker that is rolled back; a database clock that steps back; a claim that found nothing because the
queue was paused meanwhile, or this worker declared dead, with a whole backlog below; a sweep that took long only
because this process stood still.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic

from pgq.task import Task

PRIORITIES = list(range(11))
BEGINNING = datetime(1, 1, 2, tzinfo=UTC)
LAG = timedelta(seconds=0.1)
TICK = timedelta(microseconds=1)
SWEEP_EVERY = 0.25  # seconds, while busy
SWEEP_SHARE = 50  # a sweep may take one part in so many of the time
SWEEP_WITHIN = 30.0  # seconds after which there is one however long it takes: what was handed back waits no longer


class Cursor:
    """The floors of one queue in one process. `now` is the database's clock, `at` the monotonic one."""

    def __init__(self) -> None:
        self.floors = [BEGINNING] * len(PRIORITIES)
        self._swept_at = -1e9
        self._sweep_took = 0.0
        self.bottom = list(self.floors)  # where a sweep begins
        self._last_took = 0.0  # one slow sweep says something of the machine; two in a row do of the table

    def reset(self) -> None:
        """Begin from the beginning again: the floors say nothing any more."""
        self.bottom = [BEGINNING] * len(PRIORITIES)
        self.floors = list(self.bottom)

    def skip(self, ends: Mapping[int, datetime]) -> None:
        """Look only behind what ends there, by priority, until the next reset: somebody clears it away."""
        for priority, end in ends.items():
            self.bottom[priority] = end + TICK
        self.floors = [max(pair) for pair in zip(self.floors, self.bottom, strict=True)]

    def may_sweep(self, at: float) -> bool:
        """Return whether a full sweep now stays within its share of the time."""
        return at >= self.next_sweep

    def must_sweep(self, at: float) -> bool:
        """Return whether a busy lane is due for its regular sweep."""
        return at >= max(self.next_sweep, self._swept_at + SWEEP_EVERY)

    @property
    def next_sweep(self) -> float:
        """When the next full sweep may start."""
        return self._swept_at + min(SWEEP_SHARE * self._sweep_took, SWEEP_WITHIN)

    def swept(self, began: float, ended: float, *, full: bool) -> None:
        """Remember that a full sweep ran; one that brought all it asked for shows that there is more behind it."""
        if full:
            self.floors = list(self.bottom)
        self._swept_at = ended
        self._sweep_took = min(ended - began, self._last_took)
        self._last_took = ended - began

    def advance(self, claimed: Sequence[Task], asked: int, now: datetime) -> None:
        """Move the floors after a claim of at most `asked` rows that was sent at `now`.

        Fewer rows than asked: nothing is left below now. Otherwise the claim stopped inside the least urgent
        priority it took from; more urgent ones were walked to their end, less urgent ones not at all.
        """
        if len(claimed) < asked:
            self.floors = [max(floor, now - LAG) for floor in self.floors]
            return
        stopped = max(task.priority for task in claimed)
        last = max(task.scheduled_at for task in claimed if task.priority == stopped)
        for priority in range(stopped):
            self.floors[priority] = max(self.floors[priority], now - LAG)
        self.floors[stopped] = max(self.floors[stopped], min(last, now) - LAG)


class Clock:
    """The database's clock as this process estimates it; the lag of the cursor is far larger than its error."""

    def __init__(self) -> None:
        self._base = BEGINNING
        self._at = monotonic()

    def set(self, now: datetime) -> bool:
        """Take the database's time just received; returns whether it stepped back by more than the lag forgives."""
        stepped_back = now < self.now() - LAG / 2
        self._base, self._at = now, monotonic()
        return stepped_back

    def waited(self, due: datetime, at: float) -> float:
        """Return the seconds from a due time to a moment of the monotonic clock."""
        return (self._base - due).total_seconds() + at - self._at

    def now(self) -> datetime:
        """Return the database's time about now."""
        return self._base + timedelta(seconds=monotonic() - self._at)
