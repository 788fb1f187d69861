"""How long tasks waited and ran: counted in buckets in this process, told to the database every few seconds.

A bucket is a quarter of a doubling, so what is read from them is at most 9 % beside the truth. Of many tasks only some
are noted, each for all those that were not: a decrement per task is all that the others cost.
"""

from __future__ import annotations

from collections import Counter
from math import floor, log2

from pgq.db import Call

OFTEN = 256  # tasks that are noted before only every other one is
LOWEST, HIGHEST = -60, 110  # buckets: 0.03 ms, six years


class Timings:
    """What one queue's tasks took here since it was told last; decrement `left` for each, and note one when it is 0."""

    def __init__(self) -> None:
        self.left = 1  # tasks until the next one to note
        self._begin()

    def note(self, waited: float, ran: float) -> None:
        """Count a task that waited and ran for so many seconds, and for those before it."""
        self._buckets["wait", bucket(waited)] += self._each
        self._buckets["run", bucket(ran)] += self._each
        self._noted += 1
        if self._noted % OFTEN == 0:
            self._each *= 2
        self.left = self._each

    def take(self, queue: str) -> Call | None:
        """Return the statement that tells what was noted, and begin anew; None where nothing ended."""
        if not self._buckets:
            return None
        kinds = [kind for kind, _ in self._buckets]
        buckets = [number for _, number in self._buckets]
        values = {"queue": queue, "kinds": kinds, "buckets": buckets, "tasks": list(self._buckets.values())}
        self._begin()
        return Call("add_timings", values)

    def _begin(self) -> None:
        self._each = self.left = 1
        self._noted = 0
        self._buckets: Counter[tuple[str, int]] = Counter()


def bucket(seconds: float) -> int:
    """Return the bucket of a length of time: b where b <= 4 log2(seconds) < b + 1."""
    return min(max(floor(4 * log2(seconds)), LOWEST), HIGHEST) if seconds > 0 else LOWEST
