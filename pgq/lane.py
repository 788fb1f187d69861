"""A lane is one queue inside one worker process: its buffer of claimed tasks, its room, and its cursor.

The board is all lanes together with the slots that run their tasks. Slots pull: a slot that ends a task takes the
next one at once, without a task, a timer or a future per job (measured: see the README's design section).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from time import monotonic

from pgq.cursor import Cursor
from pgq.gate import Gate
from pgq.queue import Settings
from pgq.task import Task

AHEAD = 0.05  # seconds of work that may be claimed ahead of the slots
AHEAD_AT_LIMIT = 0.005  # the same behind a limit that binds, where what is claimed cannot be overtaken


class Lane:
    """One queue in this process. Times are seconds of the monotonic clock."""

    def __init__(self, settings: Settings, names: list[str], gate: Gate, slots: int, batch: int) -> None:
        self.settings = settings
        self.gate = gate
        self.names = names  # of the tasks that this worker knows
        self.cursor = Cursor()
        self.buffer: deque[Task] = deque()
        self.added_at = 0.0  # when the buffer was last filled
        self.running = 0
        self.asking = 0  # claimed tasks that wait for permits of their keys
        self.stale = False  # the buffer has waited too long: its permits must count anew
        self.drained = False  # the last claim found less than it asked for
        self.holds_bell = False
        self.rung = False
        self.expected = 0.0  # when the next of our own retries comes back
        self.look_at = 0.0  # while drained: when to look again although nobody rang
        self._slots = slots
        self._batch = batch
        self._started = 0
        self._rate = 0.0
        self._measured_at = monotonic()

    @property
    def room(self) -> int:
        """How many more tasks this queue may run here."""
        return min(self.settings.concurrency or self._slots, self._slots) - self.running

    def appetite(self, free: int) -> int:
        """Return how many tasks to claim: what can start now, and what will start within the next moment.

        Claiming ahead keeps slots busy during the round trip; it is bounded by the measured rate, so that slow
        tasks are never held back in a buffer while another worker is idle.
        """
        if self.settings.paused or self.room <= 0:
            return 0
        startable = min(self.room, free)
        ahead = min(int(self._rate * (AHEAD_AT_LIMIT if self.gate.short else AHEAD)), self._batch)
        wanted = startable + ahead - len(self.buffer) - self.asking
        return min(wanted, self._batch) if wanted > ahead // 2 else 0

    def wants_to_look(self, now: float) -> bool:
        """Return whether there may be something to claim."""
        return not self.drained or self.rung or now >= self.look_at

    @property
    def ready(self) -> bool:
        """Whether the next of the buffer may start; asks for fresh permits where those it has are too old."""
        if not self.buffer or self.room <= 0 or self.stale:
            return False
        if self.gate.start_by is not None and monotonic() > self.gate.start_by:
            self.stale = True
            self.gate.wake()
            return False
        return True

    def take(self) -> Task:
        """Take the next task of the buffer to run it."""
        self.running += 1
        self._started += 1
        task = self.buffer.popleft()
        if not self.buffer:
            self.gate.start_by = None
        return task

    def measure(self) -> None:
        """Update the rate at which tasks start here; called once per trip down the line."""
        now = monotonic()
        passed = now - self._measured_at
        if passed >= 0.002:  # noqa: PLR2004 - shorter says nothing
            self._rate = (self._rate + self._started / passed) / 2
            self._started = 0
            self._measured_at = now


class Board:
    """All lanes of a worker, and the slots waiting for their tasks."""

    def __init__(self, lanes: Iterable[Lane], slots: int) -> None:
        self.lanes = {lane.settings.name: lane for lane in lanes}
        self.slots = slots
        self.running = 0
        self.hungry = asyncio.Event()  # some lane could take more
        self._order = deque(self.lanes.values())
        self._parked: deque[asyncio.Future[None]] = deque()

    @property
    def free(self) -> int:
        """How many slots have nothing to run."""
        return self.slots - self.running

    def add(self, lane: Lane, tasks: Iterable[Task]) -> None:
        """Put claimed tasks into a lane's buffer and wake as many slots."""
        before = len(lane.buffer)
        lane.buffer.extend(tasks)
        lane.added_at = monotonic()
        self.wake(len(lane.buffer) - before)

    def wake(self, count: int) -> None:
        """Wake up to so many parked slots."""
        for _ in range(count):
            if not self._wake():
                break

    async def next(self) -> tuple[Lane, Task]:
        """Return the next task that may run, waiting for it; lanes take turns."""
        while (lane := self._ready()) is None:
            self.hungry.set()
            parked = asyncio.get_running_loop().create_future()
            self._parked.append(parked)
            try:
                await parked
            except asyncio.CancelledError:
                self._unpark(parked)
                raise
        task = lane.take()
        self.running += 1
        if not self.hungry.is_set() and lane.appetite(self.free) > 0:
            self.hungry.set()
        return lane, task

    def done(self, lane: Lane) -> None:
        """Say that a task of the lane ended."""
        lane.running -= 1
        self.running -= 1
        if not lane.buffer:
            self.hungry.set()

    def _ready(self) -> Lane | None:
        for _ in range(len(self._order)):
            lane = self._order[0]
            self._order.rotate(-1)
            if lane.ready:
                return lane
        return None

    def _unpark(self, parked: asyncio.Future[None]) -> None:
        """Forget a slot that stops waiting; pass its wake-up on if it just got one."""
        if parked in self._parked:
            self._parked.remove(parked)
        elif parked.done() and not parked.cancelled():
            self._wake()

    def _wake(self) -> bool:
        """Wake one parked slot; returns whether there was one."""
        while self._parked:
            parked = self._parked.popleft()
            if not parked.done():  # a slot cancelled in this same moment still stands in the row
                parked.set_result(None)
                return True
        return False
