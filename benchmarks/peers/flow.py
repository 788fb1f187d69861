"""One worker at work while one producer keeps about 2,000 tasks waiting for it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.harness import Bench
from benchmarks.peers.notes import Notes
from benchmarks.peers.peer import Peer
from benchmarks.peers.stage import Crew, Producer, Stage, rest, stage, wait_for
from benchmarks.results import Moment, Outcome

WAITING = 2_000
CALL = 1_000  # tasks that the producer adds at once
DRY = 100  # with fewer waiting the worker may have waited for the producer
DRY_SHARE = 0.1  # of all looks, from which on the producer is what was measured
STEP = 5.0  # seconds of a point of the series


@dataclass(slots=True)
class Flow:
    """A worker and its producer; `dry` of `looks` found next to nothing waiting."""

    at: Stage
    producer: Producer
    crew: Crew
    looks: int = 0
    dry: int = 0
    notes: Notes = field(default_factory=Notes)

    def feed(self, until: float) -> None:
        """Keep tasks waiting until a moment of the monotonic clock."""
        while time.monotonic() < until:
            waiting = self.producer.next - sum(self.crew.counts())
            self.looks += 1
            self.dry += waiting < DRY
            if waiting < WAITING:
                self.producer.bulk(CALL)
            else:
                time.sleep(0.002)

    @property
    def producer_bound(self) -> bool:
        """Whether the producer was the slower one: the worker's rate is then at least what was seen."""
        return self.dry > DRY_SHARE * self.looks


@contextmanager
def flow(outcome: Outcome, bench: Bench, peer: Peer, where: str) -> Iterator[Flow]:
    """Yield a flow under way; at its end all that was enqueued is waited for and checked, and `notes` are there."""
    with stage(bench, peer) as at:
        made = Flow(at, at.producer(), at.crew(1))
        made.crew.go()
        rest()
        made.feed(time.monotonic() + bench.size(2.0, 0.5))  # warm
        made.looks = made.dry = 0
        yield made
        wait_for(made.crew, made.producer.next)
        made.notes = made.crew.dismiss()
        made.notes.check(outcome, where, made.producer.next)


def plot(outcome: Outcome, case: str, repetition: int, notes: Notes, began: float, seconds: float) -> list[float]:
    """Add the rates of a flow to the series, one for each step; returns them."""
    step = min(STEP, seconds / 3)
    counts = [0] * round(seconds / step)
    for moment in notes.started_at:
        place = (moment / 1e9 - began) / step
        if 0 <= place < len(counts):
            counts[int(place)] += 1
    rates = [count / step for count in counts]
    outcome.series += [
        Moment(case, repetition, (k + 0.5) * step, {"tasks_per_s": rate}) for k, rate in enumerate(rates)
    ]
    return rates


def mean(rates: Sequence[float]) -> float:
    """Return the mean."""
    return sum(rates) / len(rates)
