"""Tasks that are under limits of their keys: claimed, but not started before every one of their keys lets them.

Who is denied goes back to the table, told when its turn should come. That moment is a guess where tasks wait for others
to end, so a few wait at the door instead, as many as the key may run: a slot that is free again is used at once.

No I/O here: the limiter's loop asks for what waits and reports what ended, for all queues in one call each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any

from pgq.grants import WHATEVER, Answer, Held, Limit, Request, Told, key_limit, since
from pgq.lane import Lane
from pgq.quota import KeyLimit, kind_of
from pgq.task import Task

STAY = 2.0  # seconds that somebody may wait at the door; what waits is claimed, and nobody else's
MOST = 100  # tasks in one request: the reply must come well within the slack of their permits


@dataclass(frozen=True, slots=True, eq=False)
class Bearer:
    """A claimed task with its lane, and the limits it needs."""

    lane: Lane
    task: Task
    limits: tuple[Limit, ...]

    @property
    def permit(self) -> str:
        """The name of its permits."""
        return f"{self.task.lease.hex}/{self.task.id}"

    @property
    def units(self) -> int:
        """How many units it takes of each limit."""
        return self.task.weight or 1

    @property
    def rated(self) -> bool:
        """Whether any of its limits is a rate."""
        return any(limit.quota.max is not None for limit in self.limits)

    @property
    def slack(self) -> float:
        """Seconds that its permits may wait for its start."""
        return min(limit.quota.slack for limit in self.limits)

    def held(self, units: int, running: int) -> Iterator[tuple[Limit, Held]]:
        """Yield what the limiter should know of each of its permits."""
        return ((limit, (self.permit, units, running)) for limit in self.limits)


@dataclass(frozen=True, slots=True)
class End:
    """A permit that is held no more: when that came to be, and when its task had certainly begun."""

    limit: Limit
    held: Held
    at: float
    begun_at: float | None = None

    def told(self, now: float) -> tuple[Limit, Told]:
        """Return what the limiter should know."""
        begun = None if self.begun_at is None else since(self.begun_at, now)
        return self.limit, (*self.held, since(self.at, now), begun)


class Keyring:
    """The tasks of one process that wait for their keys, and those that hold them."""

    def __init__(self, prefix: str, wake: Callable[[], None]) -> None:
        self.kinds: Mapping[str, KeyLimit] = {}
        self.waiting: list[Bearer] = []
        self.door: dict[Bearer, tuple[float, float]] = {}  # of those waiting: when to ask again, how long they may stay
        self.bearers: dict[int, Bearer] = {}  # by task id
        self.over: list[End] = []  # what ended, and was not reported yet
        self.begun_at: dict[Bearer, float] = {}  # of those that run: when they had certainly begun
        self.news: list[Bearer] = []  # those that have begun, which was not reported yet
        self._prefix = prefix
        self._wake = wake

    def unknown_kind(self, task: Task) -> str | None:
        """Return a kind of the task's keys that nobody declared."""
        return next((kind for kind in map(kind_of, task.limit_keys or ()) if kind not in self.kinds), None)

    def add(self, lane: Lane, task: Task) -> None:
        """Let a claimed task wait for its keys."""
        lane.asking += 1
        self.waiting.append(Bearer(lane, task, self.limits(task.limit_keys)))
        self._wake()

    def limits(self, keys: Iterable[str] | None) -> tuple[Limit, ...]:
        """Return the limits of these keys, of those kinds that are declared."""
        known = [key for key in sorted(keys or ()) if kind_of(key) in self.kinds]
        return tuple(key_limit(self._prefix, key, self.kinds[kind_of(key)]) for key in known)

    def next(self, now: float) -> list[Bearer]:
        """Return who should ask now, in the order in which they should start: who was denied most often is oldest."""
        self.waiting.sort(key=_place)
        return [bearer for bearer in self.waiting if self._asks_at(bearer) <= now][:MOST]

    @property
    def asks_at(self) -> float:
        """When the next of those who wait should ask."""
        if len(self.waiting) > len(self.door):
            return 0.0
        return min((at for at, _ in self.door.values()), default=inf)

    def _asks_at(self, bearer: Bearer) -> float:
        return self.door.get(bearer, (0.0, 0.0))[0]

    def stays(self, bearer: Bearer, answer: Answer, now: float) -> bool:
        """Let somebody who was denied wait at the door, where its turn is near and there is a place; else say False."""
        limit, (_, until) = answer.limit, self.door.get(bearer, (0.0, now + STAY))
        if limit is None or limit.quota.slots is None or answer.wait is None or now + answer.wait > until:
            return False
        if bearer.lane.gate.limit.quota.slots is not None:  # it would keep a slot of its queue from the others
            return False
        if bearer not in self.door:
            if len(self.door) >= MOST or sum(limit in one.limits for one in self.door) >= limit.quota.slots:
                return False
            bearer.lane.asking -= 1
        self.door[bearer] = now + answer.wait, until
        return True

    def answered(self, bearer: Bearer, answer: Answer) -> None:
        """Note that somebody need not wait any more."""
        self.remove(bearer)
        if answer.granted:
            self.bearers[bearer.task.id] = bearer

    def remove(self, bearer: Bearer) -> None:
        """Let somebody wait no more."""
        self.waiting.remove(bearer)
        if self.door.pop(bearer, None) is None:
            bearer.lane.asking -= 1

    def begun(self, task: Task, now: float) -> None:
        """Say that a task has begun, which it had before this moment."""
        bearer = self.bearers.get(task.id)
        if bearer is not None and bearer.task is task and bearer.rated:
            self.begun_at[bearer] = now
            self.news.append(bearer)
            self._wake()

    def told_begun(self, bearers: Iterable[Bearer], now: float) -> Iterator[tuple[Limit, Told]]:
        """Yield what the limiter should know of those that have begun, and not ended since."""
        for bearer in bearers:
            if (begun_at := self.begun_at.get(bearer)) is not None:
                for limit, held in bearer.held(bearer.units, 1):
                    yield limit, (*held, None, since(begun_at, now))

    def ended(self, task: Task, *, started: bool = True) -> None:
        """Say that a task ended, or went back without having started."""
        bearer = self.bearers.get(task.id)
        if bearer is not None and bearer.task is task:
            del self.bearers[task.id]
            self.let_go(bearer, bearer.units if started else 0)
            for limit in bearer.limits:
                self._call_in(limit)
            self._wake()

    def let_go(self, bearer: Bearer, units: int) -> None:
        """Note that somebody's permits are held no more, and how many units of them were used."""
        now, begun_at = monotonic(), self.begun_at.pop(bearer, None)
        self.over += (End(limit, held, now, begun_at) for limit, held in bearer.held(units, 0))

    def _call_in(self, limit: Limit) -> None:
        """Let the first of those at the door who need this limit ask at once: a task of it ended here."""
        for bearer in sorted((one for one in self.door if limit in one.limits), key=_place)[:1]:
            self.door[bearer] = 0.0, self.door[bearer][1]

    def held(self) -> list[tuple[Limit, Held]]:
        """Return every permit that is held."""
        return [pair for bearer in list(self.bearers.values()) for pair in bearer.held(bearer.units, 1)]

    def renewed(self, held: Iterable[tuple[Limit, Held]]) -> None:
        """Take note that holds were renewed: what ended meanwhile may have come to life again, and is reported anew."""
        now, alive = monotonic(), {bearer.permit for bearer in self.bearers.values()}
        over = [End(limit, (name, WHATEVER, 0), now) for limit, (name, _, _) in held if name not in alive]
        self.over += over
        if over:
            self._wake()

    def request(self, bearer: Bearer) -> Request:
        """Return what to ask for somebody; who waits at the door was denied once more than its task knows."""
        task = bearer.task
        return Request(bearer.permit, bearer.limits, bearer.units, task.priority, task.bounces + (bearer in self.door))


def _place(bearer: Bearer) -> tuple[Any, ...]:
    task = bearer.task
    return task.priority, -task.bounces, task.scheduled_at, task.id
