"""How many processes a supervisor should run: a pure decision over what the view `pgq.autoscale` says.

It grows at once to what is needed, and shrinks by one process at a time after a quiet time. Need is in slots, of
queues: depth alone is none, as long as nothing of it waits for long. What a limit holds back is none either.

Where several supervisors serve a queue, each takes the share of the need that its own slots are of all slots. The
shares add up to the need whatever the hosts' sizes, so nobody has to be asked; rounding up makes it at most one
process too many each.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from pgq.errors import InvalidOption

LATE = 0.5  # seconds a due task may wait while there are processes to be had
QUIET = 10.0  # seconds for which less must be needed before the first process is taken away
PACE = 5.0  # seconds between two that are taken away, at most
WAY_BACK = 40.0  # seconds in which the widest span has been walked back, after the quiet time
CALM = 10.0  # seconds after a process died young in which nothing grows: what crashes needs no company
MOST = 64  # processes under one supervisor: so many can be dismissed one by one on the way back
_SPAN = re.compile(r"(\d{1,9})(?:\.\.(\d{1,9}))?\Z")


@dataclass(frozen=True, slots=True)
class Span:
    """The number of processes: `least` to `most`. Raises InvalidOption for a span that is none."""

    least: int
    most: int

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.least < 1:
            raise InvalidOption(f"processes must be at least 1, got {self.least}")
        if self.most < self.least:
            raise InvalidOption(f"processes must grow: {self.least}..{self.most} ends below its beginning")
        if self.most > MOST:
            raise InvalidOption(f"processes must be at most {MOST}, got {self.most}")

    @classmethod
    def parse(cls, text: str) -> Span:
        """Return the span that `4` or `2..16` stands for. Raises InvalidOption."""
        if (found := _SPAN.match(text.strip())) is None:
            raise InvalidOption(f"processes must be a number or a span such as 2..16, got {text!r:.80}")
        return cls(int(found[1]), int(found[2] or found[1]))

    @property
    def moves(self) -> bool:
        """Whether there is anything to decide."""
        return self.most > self.least

    def __str__(self) -> str:
        return f"{self.least}..{self.most}" if self.moves else str(self.least)


@dataclass(frozen=True, slots=True)
class Need:
    """One queue as the view `pgq.autoscale` has it: of all live workers its slots, what is busy, and what is needed.

    The view reckons what drains the backlog within a minute. `most` is how many slots its limits let it use.
    """

    slots: float
    busy: float
    backlog: float
    wait: float
    needed: float
    most: float = math.inf

    @property
    def now(self) -> float:
        """Slots needed now: where tasks wait too long, one for each that waits, since a process starts in no time."""
        return max(self.needed, min(self.busy + self.backlog, self.most)) if self.wait > LATE else self.needed


@dataclass(frozen=True, slots=True)
class Scale:
    """The processes that should run, and since when (seconds of a monotonic clock) fewer would do."""

    target: int
    fewer_since: float | None = None


def wanted(needs: Iterable[Need], own: float, concurrency: int) -> int | None:
    """Return how many processes of `concurrency` slots our share of the needs takes.

    `own` are the slots of our processes that the queues' slots count in; None while there are none, since nobody can
    say then what our share is.
    """
    if own <= 0:
        return None
    slots = sum(need.now * min(1.0, own / need.slots) if need.slots > 0 else need.now for need in needs)
    return math.ceil(slots / concurrency - 1e-9)


def decide(span: Span, scale: Scale, processes: int | None, now: float, crashed_at: float = -math.inf) -> Scale:
    """Return the next scale, where `processes` are wanted (None: unknown) and one last died young at `crashed_at`."""
    if processes is None:
        return Scale(scale.target)
    processes = min(max(processes, span.least), span.most)
    if processes >= scale.target:
        return Scale(scale.target if now < crashed_at + CALM else processes)
    since = now if scale.fewer_since is None else scale.fewer_since
    if now < since + QUIET:
        return Scale(scale.target, since)
    return Scale(scale.target - 1, since + min(PACE, WAY_BACK / (span.most - span.least)))
