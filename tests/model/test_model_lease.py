"""The fence in every interleaving of two workers, a recovery and a cancellation: one end per task, by who held it last.

The model has the statements as single steps: claim (a new lease), begin and settle (only under their lease), recover
(only of a worker that is silent). Each part of the fence is left out once, and the model has to find what goes wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from explorer import Process, World, explore

PARTS = ("lease in settle", "fresh lease per claim", "lease cleared by recover", "attempt counted by claim")
MOST = 2


@dataclass
class Row:
    """One task, and what happened to it."""

    without: str | None
    status: str = "pending"
    lease: str | None = None
    attempts: int = 0
    claims: int = 0
    stale: bool = False  # the outcome of a run that had lost its lease was recorded
    told: set[str] = field(default_factory=set)  # who believes that it has completed it

    def __repr__(self) -> str:
        return repr((self.status, self.lease, self.attempts, self.claims, self.stale, sorted(self.told)))

    def may(self, name: str) -> bool:  # noqa: ARG002 - nobody waits
        return True

    def claim(self) -> tuple[str, int] | None:
        if self.status != "pending":
            return None
        self.claims += 1
        fresh = self.without != "fresh lease per claim"
        self.status, self.lease = "processing", f"lease {self.claims if fresh else 0}"
        self.attempts += self.without != "attempt counted by claim"
        return self.lease, self.claims

    def settle(self, held: tuple[str, int], status: str) -> bool:
        lease, claim = held
        if self.without == "lease in settle" or self.lease == lease:
            self.stale |= claim != self.claims or self.status != "processing"
            self.status = status
            self.lease = None
            return True
        return False

    def recover(self) -> None:
        if self.status == "processing":
            self.status = "pending" if self.attempts < MOST else "dead"
            if self.without != "lease cleared by recover":
                self.lease = None


def worker(row: Row, name: str) -> Process:
    """Claims, runs for any time, and completes; it believes what it is told."""
    yield
    held = row.claim()
    if held is None:
        return
    yield
    if row.settle(held, "completed"):
        row.told.add(name)


def failing(row: Row) -> Process:
    """Claims and fails, twice."""
    for _ in range(2):
        yield
        if held := row.claim():
            yield
            row.settle(held, "pending" if row.attempts < MOST else "dead")


def recovery(row: Row) -> Process:
    """Takes whoever holds the task for dead, whether it is or not: twice."""
    for _ in range(2):
        yield
        row.recover()


def world(without: str | None) -> World:
    row = Row(without)
    return World(
        row,
        {"ann": worker(row, "ann"), "bob": worker(row, "bob"), "cy": failing(row), "upkeep": recovery(row)},
    )


def broken(world: World) -> str | None:
    row: Row = world.state
    if row.stale:
        return "a run that had lost its lease was recorded"
    if len(row.told) > 1:
        return f"two were told that they had completed it: {sorted(row.told)}"
    if row.told and row.status != "completed":
        return f"{sorted(row.told)} was told that it had completed it, and it is {row.status}"
    if row.claims > MOST:
        return f"it was started {row.claims} times, of {MOST}"
    if (row.lease is not None) != (row.status == "processing"):
        return f"it is {row.status} under lease {row.lease}"
    return None


def test_no_interleaving_breaks_the_fence() -> None:
    states, wrong = explore(lambda: world(None), broken)
    assert wrong is None, wrong
    assert states > 100


@pytest.mark.parametrize("part", PARTS)
def test_without_any_one_part_some_interleaving_breaks_the_fence(part: str) -> None:
    states, wrong = explore(lambda: world(part), broken)
    assert wrong is not None, f"{states} states, and none is broken without: {part}"
