"""Tasks that are under limits of their keys: claimed, but not started before every one of their keys lets them.

No I/O here: the limiter's loop asks for what waits and reports what ended, for all queues in one call each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pgq.grants import Answer, Held, Limit, Request, key_limit
from pgq.lane import Lane
from pgq.quota import KeyLimit, kind_of
from pgq.task import Task

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
    def slack(self) -> float:
        """Seconds that its permits may wait for its start."""
        return min(limit.quota.slack for limit in self.limits)

    def held(self, units: int, running: int) -> Iterator[tuple[Limit, Held]]:
        """Yield what the limiter should know of each of its permits."""
        return ((limit, (self.permit, units, running)) for limit in self.limits)


class Keyring:
    """The tasks of one process that wait for their keys, and those that hold them."""

    def __init__(self, prefix: str, wake: Callable[[], None]) -> None:
        self.kinds: Mapping[str, KeyLimit] = {}
        self.waiting: list[Bearer] = []
        self.bearers: dict[int, Bearer] = {}  # by task id
        self.over: list[tuple[Limit, Held]] = []  # what ended and was not reported yet
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

    def next(self) -> list[Bearer]:
        """Return who should ask now, in the order in which they should start: who was denied most often is oldest."""
        self.waiting.sort(key=_place)
        return self.waiting[:MOST]

    def answered(self, bearer: Bearer, answer: Answer) -> None:
        """Note that somebody need not wait any more."""
        self.remove(bearer)
        if answer.granted:
            self.bearers[bearer.task.id] = bearer

    def remove(self, bearer: Bearer) -> None:
        """Let somebody wait no more."""
        self.waiting.remove(bearer)
        bearer.lane.asking -= 1

    def ended(self, task: Task, *, started: bool = True) -> None:
        """Say that a task ended, or went back without having started."""
        bearer = self.bearers.get(task.id)
        if bearer is not None and bearer.task is task:
            del self.bearers[task.id]
            self.over += bearer.held(bearer.units if started else 0, 0)
            self._wake()

    def held(self) -> list[tuple[Limit, Held]]:
        """Return every permit that is held."""
        return [pair for bearer in list(self.bearers.values()) for pair in bearer.held(bearer.units, 1)]


def request(bearer: Bearer) -> Request:
    """Return what to ask for somebody."""
    task = bearer.task
    return Request(bearer.permit, bearer.limits, bearer.units, task.priority, task.bounces)


def _place(bearer: Bearer) -> tuple[Any, ...]:
    task = bearer.task
    return task.priority, -task.bounces, task.scheduled_at, task.id
