"""Whether the limits held, by what reached the servers that they protect.

A limit is about when handlers begin, so that is what each mail and request says, and what is judged. The clocks of the
servers are shown beside it: on a busy machine a mail may be under way for longer than the limiter allows for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pgq.demo.counts import Counts
from pgq.demo.delivery import Delivery
from pgq.queue import Settings


@dataclass(frozen=True, slots=True)
class Proof:
    """At most `max` starts in any `per` seconds were allowed: the fullest window seen, and how much was used.

    `fullest_received` is the fullest window by the clock of the server.
    """

    name: str
    max: int
    per: float
    fullest_window: int
    fullest_received: int
    utilisation: float | None

    @property
    def held(self) -> bool:
        """Whether no window held more than the limit allows."""
        return self.fullest_window <= self.max


@dataclass(slots=True)
class Backlog:
    """Until when tasks of each queue waited without a break (monotonic seconds), as far as looks at them tell."""

    until: dict[str, float] = field(default_factory=dict)
    _gone: set[str] = field(default_factory=set)

    def look(self, counts: Iterable[Counts], at: float) -> None:
        """Take note of counts that were read after the moment `at`."""
        for queue in counts:
            if queue.waiting and queue.queue not in self._gone:
                self.until[queue.queue] = at
            else:
                self._gone.add(queue.queue)


def proofs(
    queues: Iterable[Settings], received: Mapping[str, Sequence[Delivery]], until: Mapping[str, float]
) -> list[Proof]:
    """Return a proof for each limited queue, from what its tasks delivered, in any order."""
    return [
        _proof(queue.name, queue.rate_max, queue.rate_per, received[queue.name], until.get(queue.name, 0.0))
        for queue in queues
        if queue.rate_max is not None and queue.rate_per is not None
    ]


def _proof(name: str, most: int, per: float, received: Sequence[Delivery], until: float) -> Proof:
    begun, came = sorted(one.began for one in received), sorted(one.at for one in received)
    waited = [at for at in begun if at <= until]
    return Proof(name, most, per, fullest_window(begun, per), fullest_window(came, per), utilisation(waited, most, per))


def fullest_window(times: Sequence[float], per: float) -> int:
    """Return the most of these moments, in order, that lie in a stretch of `per` seconds, its two ends included."""
    fullest = first = 0
    for last, at in enumerate(times):
        while at - times[first] > per:
            first += 1
        fullest = max(fullest, last - first + 1)
    return fullest


def utilisation(times: Sequence[float], most: int, per: float) -> float | None:
    """Return which share of a limit was used from the first to the last of these moments, in order; 1.0 is all of it.

    With n of them the limit was filled `turns` = floor((n - 1) / most) times after the first, and the one that is
    `turns * most` after the first may come `turns * per` after it at the earliest. The share is that time, divided by
    the time it took. None where not one turn was filled.
    """
    turns = (len(times) - 1) // most
    return turns * per / (times[turns * most] - times[0]) if turns > 0 else None
