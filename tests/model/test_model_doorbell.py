"""The doorbell in every interleaving of two workers and two enqueues: nobody sleeps over a committed task.

The model has Postgres's rules for advisory locks and NOTIFY (told at commit), and the steps of `doze`, `claim`, `rouse`
and `pgq.ring`. Each step that carries the promise is left out once, and the model has to find what goes wrong then;
tests/race/test_race_doorbell.py does the same steps with the real statements.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from explorer import Process, World, explore

STEPS = (
    "shared lock until commit", "ring when refused", "exclusive lock", "look after the lock",
    "stay awake while an enqueue is under way", "tell the followers",
)  # fmt: skip
WORKERS = frozenset({"one", "two"})


@dataclass
class Bell:
    """One queue: tasks that are committed and unclaimed, who holds the lock, who was rung for, who sleeps."""

    without: str | None
    tasks: int = 0
    exclusive: str | None = None
    shared: set[str] = field(default_factory=set)
    rung: set[str] = field(default_factory=set)
    asleep: set[str] = field(default_factory=set)

    def __repr__(self) -> str:
        return repr((self.tasks, self.exclusive, sorted(self.shared), sorted(self.rung), sorted(self.asleep)))

    def may(self, name: str) -> bool:
        """A sleeper does nothing until it is rung for: the backstop of polling is left out of the model."""
        return name not in self.asleep or name in self.rung

    def tries_exclusive(self, name: str) -> bool:
        if self.without == "exclusive lock":
            return True
        if self.exclusive in {None, name} and not self.shared - {name}:
            self.exclusive = name
            return True
        return False

    def tries_shared(self, name: str) -> bool:
        if self.exclusive not in {None, name}:
            return False
        self.shared.add(name)
        return True

    def lets_go(self, name: str) -> None:
        self.exclusive = None if self.exclusive == name else self.exclusive
        self.shared.discard(name)

    def rouses(self, name: str) -> None:
        """It is busy now, or stops: whoever follows must not count on its lock."""
        if self.exclusive == name and self.without != "tell the followers":
            self.rung |= set(WORKERS) - {name}
        self.lets_go(name)

    def claim(self) -> bool:
        found, self.tasks = self.tasks > 0, 0
        return found


def enqueue(bell: Bell, name: str, *, commits: bool) -> Process:
    """A business transaction: the row, the try for the shared lock, and some time later its end, when it tells."""
    yield
    free = bell.tries_shared(name)
    if bell.without == "shared lock until commit":
        bell.lets_go(name)
    yield
    if commits:
        bell.tasks += 1
        if not free and bell.without != "ring when refused":
            bell.rung |= set(WORKERS)
    bell.lets_go(name)


def worker(bell: Bell, name: str, turns: int) -> Process:
    """A worker that falls asleep whenever it finds nothing, and stops for good after some turns."""
    for _ in range(turns):
        yield
        if bell.claim():
            bell.rouses(name)
            continue
        yield
        bell.rung.discard(name)
        if not bell.tries_exclusive(name) and bell.tries_shared(name):  # an enqueue is under way
            bell.lets_go(name)
            if bell.without != "stay awake while an enqueue is under way":
                continue
        yield
        if bell.without != "look after the lock" and bell.claim():
            bell.rouses(name)
            continue
        bell.asleep.add(name)
        yield
        bell.asleep.discard(name)
    bell.rouses(name)


def world(without: str | None, *, commits: bool) -> World:
    bell = Bell(without)
    return World(
        bell,
        {
            "one": worker(bell, "one", 2),
            "two": worker(bell, "two", 3),
            "first": enqueue(bell, "first", commits=True),
            "second": enqueue(bell, "second", commits=commits),
        },
    )


def slept_over(world: World) -> str | None:
    """A committed task, every transaction at its end, and all workers that are left asleep with no ring on its way."""
    bell: Bell = world.state
    left = WORKERS - world.over
    if bell.tasks and {"first", "second"} <= world.over and left and left <= bell.asleep - bell.rung:
        return f"everybody sleeps over {bell.tasks} tasks"
    return None


@pytest.mark.parametrize("commits", [True, False], ids=["second commits", "second rolls back"])
def test_no_interleaving_lets_everybody_sleep_over_a_task(commits: bool) -> None:
    states, wrong = explore(lambda: world(None, commits=commits), slept_over)
    assert wrong is None, wrong
    assert states > 1000


@pytest.mark.parametrize("step", STEPS)
def test_without_any_one_step_some_interleaving_sleeps_over_a_task(step: str) -> None:
    states, wrong = explore(lambda: world(step, commits=True), slept_over)
    assert wrong is not None, f"{states} states, and none is wrong without: {step}"
