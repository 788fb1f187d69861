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
from pgq.timings import Timings

AHEAD = 0.05  # seconds of work that may be claimed ahead of the slots
AHEAD_AT_LIMIT = 0.005  # the same behind a limit that binds, where what is claimed cannot be overtaken
QUICK = 0.0001  # seconds a task takes: two batches of such tasks, a thousand, are twice AHEAD at most


class Lane:
    """One queue in this process. Times are seconds of the monotonic clock."""

    def __init__(self, settings: Settings, names: list[str], gate: Gate, slots: int, batch: int) -> None:
        self.settings = settings
        self.gate = gate
        self.names = names  # of the tasks that this worker knows
        self.cursor = Cursor()
        self.buffer: deque[Task] = deque()
        self.timings = Timings()
        self.added_at = 0.0  # when the buffer was last filled
        self.running = 0
        self.asking = 0  # claimed tasks that wait for permits of their keys
        self.stale = False  # the buffer has waited too long: its permits must count anew
        self.drained = False  # the last claim found less than it asked for
        self.holds_bell = False
        self.rung = False
        self.rung_at = 0.0  # when it last looked because of a ring
        self.expected = 0.0  # when the next of our own retries comes back
        self.look_at = 0.0  # while drained: when to look again although nobody rang
        self._slots = slots
        self._batch = batch
        self._started = 0
        self._quick = -10  # above 0 when nearly all of the last hundred or two, or the first ten, took less than QUICK
        self._rate = 0.0
        self._measured_at = monotonic()

    @property
    def room(self) -> int:
        """How many more tasks this queue may run here."""
        return min(self.settings.concurrency or self._slots, self._slots) - self.running

    def appetite(self, free: int) -> int:
        """Return how many tasks to claim: what can start now, and what will start within the next moment.

        Claiming ahead keeps slots busy during the round trip; it is bounded by the measured rate, so that slow
        tasks are never held back in a buffer while another worker is idle. Of tasks that end at once the rate says
        only how many processes share them: sixty-four would claim a few each, and be busy with claiming.
        """
        if self.settings.paused or self.room <= 0:
            return 0
        startable = min(self.room, free)
        most = 2 * self._batch
        if self.gate.short:
            ahead = min(int(self._rate * AHEAD_AT_LIMIT), most)
        else:
            ahead = most if self._quick > 0 and not self.running else min(int(self._rate * AHEAD), most)
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
        if self.gate.start_by is not None and (now := monotonic()) > self.gate.start_by and self._too_old(now):
            self.stale = True
            self.gate.wake()
            return False
        return True

    def _too_old(self, now: float) -> bool:
        """Return whether permits in the buffer are; what the gate noted last may be of tasks that have started."""
        if any(task.limit_keys for task in self.buffer):
            return True  # of keys nobody knows here
        self.gate.start_by = self.gate.good_until({task.lease for task in self.buffer})
        return now > self.gate.start_by

    def take(self) -> Task:
        """Take the next task of the buffer to run it."""
        self.running += 1
        self._started += 1
        task = self.buffer.popleft()
        if not self.buffer:
            self.gate.start_by = None
        return task

    def ended(self, took: float) -> None:
        """Count a task out that took so many seconds; one in twenty may be slow, if only for want of a processor."""
        self.running -= 1
        self._quick = min(self._quick + 1, 100) if took < QUICK else max(self._quick - 20, -100)

    def measure(self) -> None:
        """Update the rate at which tasks start here; called once per trip down the line."""
        now = monotonic()
        passed = now - self._measured_at
        if passed >= 0.002:  # noqa: PLR2004 - shorter says nothing
            self._rate = (self._rate + self._started / passed) / 2
            self._started = 0
            self._measured_at = now


class Board:
    """All lanes of a worker, and the slots waiting for their tasks.

    Slots wake one after the other, twice as many at each turn of the event loop, and only as those before them wait
    for something: tasks that end at once need one slot, and fifty would keep the loop from its sockets meanwhile.
    """

    def __init__(self, lanes: Iterable[Lane], slots: int) -> None:
        self.lanes = {lane.settings.name: lane for lane in lanes}
        self.slots = slots
        self.running = 0
        self.hungry = asyncio.Event()  # some lane could take more
        self.closed = False  # nothing starts any more
        self._order = deque(self.lanes.values())
        self._parked: deque[asyncio.Future[None]] = deque()
        self._owed = 0  # slots still to be woken
        self._step = 0  # how many of them at the next turn of the loop; 0: none was woken lately
        self._breathing = False  # a slot gave way in the last turn, and waits for nothing else

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
        """Wake up to so many parked slots: one now, the others as they are needed."""
        self._owed = min(self._owed + count, len(self._parked))
        if self._owed and not self._step:
            self._follow()

    async def breathe(self) -> None:
        """Let the event loop look at its sockets; the slot that gives way goes on in its next turn."""
        self._breathing = True
        await asyncio.sleep(0)
        self._breathing = False

    def _follow(self) -> None:
        if not self._breathing:
            self._step = max(self._step * 2, 1)
            for _ in range(min(self._step, self._owed)):
                self._owed -= 1
                self._wake()
        self._owed = min(self._owed, len(self._parked))
        if self._owed and any(lane.buffer for lane in self.lanes.values()):
            asyncio.get_running_loop().call_soon(self._follow)
        else:
            self._owed = self._step = 0

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

    def done(self, lane: Lane, took: float = 1.0) -> None:
        """Say that a task of the lane ended, `took` seconds after it was taken."""
        lane.ended(took)
        self.running -= 1
        if not lane.buffer:
            self.hungry.set()

    def _ready(self) -> Lane | None:
        for _ in range(0 if self.closed else len(self._order)):
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
