"""What limits promise, judged by the ledger: how many ran at once, or started in a window, how soon all slots did.

Times are nanoseconds of the system-wide monotonic clock, as in the ledger; lengths are seconds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from time import monotonic_ns

from ledger import NEVER, Ledger, Run

SECOND = 1_000_000_000
Span = tuple[int, int]


def runs_of(ledger: Ledger, keys: Iterable[str]) -> list[Run]:
    """Return the runs of these tasks, in the order of their starts."""
    wanted = set(keys)
    return sorted((run for run in ledger.runs() if run.key in wanted), key=lambda run: run.began)


def levels(runs: Iterable[Run]) -> Iterator[tuple[int, int]]:
    """Yield each moment at which the number of running tasks changes, and the number from then on."""
    steps = sorted(step for run in runs for step in ((run.began, 1), (run.ended or monotonic_ns(), -1)))
    level = 0
    for when, step in steps:
        level += step
        yield when, level


def at_once(runs: Iterable[Run], since: int = 0) -> int:
    """Return the most that ran at once, from a moment on."""
    return max((level for when, level in levels(runs) if when >= since), default=0)


def crowd(runs: Iterable[Run], most: int) -> list[Run]:
    """Return the runs of the first moment at which more than so many ran; none where there is no such moment."""
    here: list[Run] = []
    for run in sorted(runs, key=lambda run: run.began):
        here = [one for one in here if (one.ended or NEVER) > run.began] + [run]
        if len(here) > most:
            return here
    return []


def overfull(runs: Sequence[Run], most: int, per: float, losses: Sequence[Span] = ()) -> list[tuple[int, int, int]]:
    """Return windows with more than `most` starts, and as many again for each loss of memory that they overlap.

    Each is its first start, how many it has, how many it may have.
    """
    starts = [run.began for run in runs]
    found = []
    for place, first in enumerate(starts):
        ends = first + round(per * SECOND)
        allowed = most * (1 + sum(began < ends and over > first for began, over in losses))
        if (count := bisect_left(starts, ends) - place) > allowed:
            found.append((first, count, allowed))
    return found


def refilled(runs: Iterable[Run], after: int, slots: int) -> float:
    """Return the seconds from a moment until all slots were in use; centuries when they never were."""
    full = (when for when, level in levels(runs) if when > after and level >= slots)
    return (next(full, NEVER) - after) / SECOND


def between(runs: Iterable[Run], began: int, ended: int) -> list[Run]:
    """Return the runs that started in a span of time."""
    return [run for run in runs if began <= run.began < ended]


def back_after(ledger: Ledger, crash: int, accepted: int, share: float = 0.95, over: float = 2.0) -> float:
    """Return the seconds from `accepted` until throughput is that of before the crash, else centuries.

    That is so when tasks end, for `over` seconds on end, at a share of their rate before: or of the rate at which they
    are enqueued now, where a busy machine enqueues fewer, but no less than half.
    """
    ends, acks = times(ledger, "end"), times(ledger, "ack")
    within = round(over * SECOND)
    before = count_between(ends, crash - 2 * within, crash) / 2
    for began in ends[bisect_left(ends, accepted) :]:
        asked = count_between(acks, began, began + within)
        if before and asked > before / 2 and count_between(ends, began, began + within) >= share * min(asked, before):
            return (began - accepted) / SECOND
    return NEVER / SECOND


def count_between(moments: Sequence[int], began: int, ended: int) -> int:
    """Return how many of these moments, in order, lie in a span of time."""
    return bisect_left(moments, ended) - bisect_left(moments, began)


def times(ledger: Ledger, kind: str) -> list[int]:
    """Return when all events of one kind happened, in order."""
    return sorted(int(words[0]) for words in ledger.read(kind))
