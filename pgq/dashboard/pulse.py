"""How fast each queue goes right now: from one look at the counts to the next, and the last two minutes of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pgq.dashboard.rows import Pulse, QueueRow

LOOKS = 180  # that are remembered
GAP = 5.0  # seconds without a look, after which there is no rate from one to the next
SMOOTH = 2.0  # seconds over which a rate is smoothed


@dataclass(frozen=True, slots=True)
class Beat:
    """A queue at one look: tasks per second, tasks there, seconds the oldest has been due (0 while paused)."""

    served: float
    arrived: float
    pending: int
    processing: int
    oldest: float


@dataclass(frozen=True, slots=True)
class Look:
    """All queues at one moment, milliseconds since 1970."""

    at: int
    beats: dict[str, Beat]


@dataclass(slots=True)
class _Lane:
    minutes: dict[datetime, int] = field(default_factory=dict)
    there: int = 0
    served: float = 0.0
    arrived: float = 0.0


class Pulses:
    """Takes looks, remembers some."""

    def __init__(self) -> None:
        self.looks: deque[Look] = deque(maxlen=LOOKS)
        self._lanes: dict[str, _Lane] = {}
        self._last = float("-inf")

    def take(self, at: datetime, now: float, queues: Sequence[QueueRow], pulses: Iterable[Pulse]) -> Look:
        """Return how it goes, from the rows of one look; `now` are seconds of a clock that never jumps."""
        passed = now - self._last
        self._last = now
        minutes: dict[str, dict[datetime, int]] = {}
        for pulse in pulses:
            minutes.setdefault(pulse.queue, {})[pulse.minute] = pulse.ended
        beats = {row.queue: self._beat(row, minutes.get(row.queue, {}), passed) for row in queues}
        self._lanes = {name: lane for name, lane in self._lanes.items() if name in beats}
        look = Look(int(at.timestamp() * 1000), beats)
        self.looks.append(look)
        return look

    def _beat(self, row: QueueRow, minutes: dict[datetime, int], passed: float) -> Beat:
        lane, there = self._lanes.get(row.queue), row.pending + row.processing
        if lane is None or passed > GAP:
            lane = self._lanes[row.queue] = _Lane(served=row.served_1m or 0.0, arrived=row.arrived_1m or 0.0)
        else:
            ended = sum(max(count - lane.minutes.get(minute, 0), 0) for minute, count in minutes.items())
            share = min(passed / SMOOTH, 1.0)
            lane.served += share * (ended / passed - lane.served)
            lane.arrived += share * (max(there - lane.there + ended, 0) / passed - lane.arrived)
        lane.minutes, lane.there = minutes, there
        oldest = 0.0 if row.paused else round(row.oldest_due_age or 0.0, 3)
        return Beat(round(lane.served, 2), round(lane.arrived, 2), row.pending, row.processing, oldest)

    def history(self, queue: str | None) -> dict[str, object]:
        """Return what is remembered, for charts: of one queue, or of all together with the rate of each."""
        times = [look.at for look in self.looks]
        if queue is not None:
            beats = [look.beats.get(queue) for look in self.looks]
            return {"at": times, "total": _columns(beats)}
        names = {name for look in self.looks for name in look.beats}
        return {
            "at": times,
            "total": _columns([together(look.beats.values()) for look in self.looks]),
            "served": {n: [b.served if (b := look.beats.get(n)) else None for look in self.looks] for n in names},
        }


def together(beats: Iterable[Beat]) -> Beat:
    """Return all queues as if they were one; the oldest is that of the worst."""
    beats = list(beats)
    return Beat(
        round(sum(beat.served for beat in beats), 2),
        round(sum(beat.arrived for beat in beats), 2),
        sum(beat.pending for beat in beats),
        sum(beat.processing for beat in beats),
        max((beat.oldest for beat in beats), default=0.0),
    )


def _columns(beats: Sequence[Beat | None]) -> dict[str, list[float | None]]:
    return {name: [None if beat is None else getattr(beat, name) for beat in beats] for name in Beat.__slots__}
