"""What should be in the tables after each step of the line: plain Python, without a lock, a clock or a statement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from uuid import UUID

from pgq.queue import Settings
from pgq.task import Settled

OPEN = frozenset({"pending", "processing"})
COUNTED = frozenset({"completed", "failed", "dead", "cancelled"})


@dataclass
class Entry:
    """What a row should say; `key` is the unique key that it was enqueued with."""

    id: int
    queue: str
    most: int
    key: str | None = None
    status: str = "pending"
    attempts: int = 0
    crashes: int = 0
    lease: UUID | None = None
    worker: int | None = None
    suspect: bool = False
    asked: bool = False  # to stop


@dataclass
class Book:
    """All rows, who holds which unique key, and what was counted."""

    queues: dict[str, Settings]
    tasks: dict[int, Entry] = field(default_factory=dict)
    keys: dict[tuple[str, str], int] = field(default_factory=dict)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    workers: dict[int, bool] = field(default_factory=dict)  # those that have a row: whether they are heard of
    paused: set[str] = field(default_factory=set)

    def enqueue(self, task_id: int, queue: str, key: str | None) -> None:
        self.tasks[task_id] = Entry(task_id, queue, self.queues[queue].max_attempts, key)
        if key is not None:
            self.keys[queue, key] = task_id

    def holder(self, queue: str, key: str | None) -> Entry | None:
        return self.tasks[self.keys[queue, key]] if (queue, key) in self.keys else None

    def replace(self, task: Entry) -> None:
        """A waiting task was given a new payload, and starts over."""
        task.attempts = task.crashes = 0
        task.worker = None

    def claim(self, task_id: int, lease: UUID, worker: int) -> None:
        task = self.tasks[task_id]
        assert task.status == "pending", task
        task.status, task.lease, task.worker, task.suspect = "processing", lease, worker, False
        task.attempts += 1

    def under(self, task_id: int, lease: UUID) -> Entry | None:
        """The task, if this lease still holds it."""
        task = self.tasks.get(task_id)
        return task if task is not None and task.lease == lease else None

    def begin(self, task: Entry, *, suspect: bool) -> bool:
        if task.asked:
            return False
        task.suspect |= suspect
        return True

    def settle(self, task: Entry, outcome: Settled) -> None:
        task.lease = None
        task.attempts -= outcome.refund
        cancelled = outcome.status == "pending" and task.asked
        task.status = "cancelled" if cancelled else outcome.status
        self._ended(task, refund=outcome.refund)

    def complete(self, task: Entry) -> None:
        self.settle(task, Settled("completed"))
        if self.queues[task.queue].retention == 0:
            del self.tasks[task.id]

    def recover(self, queue: str, overdue: Callable[[int], bool]) -> dict[int, str]:
        """Give back what is lost; returns the status each got."""
        lost = [
            task for task in self.tasks.values()
            if task.queue == queue and task.lease and (not self.workers.get(task.worker) or overdue(task.id))
        ]  # fmt: skip
        for task in lost:
            orphaned = not self.workers.get(task.worker)
            last = task.attempts >= task.most
            refund = last and not task.suspect and not task.asked
            task.status = (
                "cancelled" if task.asked
                else "pending" if not last or refund
                else "dead" if self.queues[queue].keep_dead
                else "failed"
            )  # fmt: skip
            task.lease = None
            task.attempts -= refund
            task.crashes += orphaned or refund
            self._ended(task, refund=refund)
        return {task.id: task.status for task in lost}

    def cancel(self, task: Entry) -> str:
        if task.status == "pending":
            task.status, task.asked = "cancelled", True
            self._ended(task, refund=0)
            return "cancelled"
        if task.status == "processing":
            task.asked = True
            return "requested"
        return task.status

    def start_over(self, task: Entry) -> bool:
        """An ended task starts over; False: somebody else holds its unique key."""
        if task.key is not None and self.keys.setdefault((task.queue, task.key), task.id) != task.id:
            return False
        task.attempts = task.attempts if task.status == "pending" else 0
        task.status, task.crashes, task.asked, task.worker, task.lease = "pending", 0, False, None, None
        return True

    def forget(self, ids: Iterable[int]) -> None:
        for task_id in ids:
            del self.tasks[task_id]

    def _ended(self, task: Entry, *, refund: int) -> None:
        if task.status in COUNTED:
            self.counts[task.queue, task.status] += 1
            if self.keys.get((task.queue, task.key)) == task.id:
                del self.keys[task.queue, task.key]
        elif not refund:
            self.counts[task.queue, "retried"] += 1
