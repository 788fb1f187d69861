"""The loop that keeps the slots fed: what to ask of each queue, when to look again, when to sleep.

One connection, one round trip for all queues; while it is under way the slots run what came before. A lane that found
less than it asked for is drained: it asks for the bell, looks once more, and sleeps until a ring, its next due task,
or the backstop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from time import monotonic

import psycopg

from pgq.claim import Found, Want, claim
from pgq.config import Config
from pgq.cursor import Clock
from pgq.db import Call, arun
from pgq.grants import Batch
from pgq.lane import Board, Lane
from pgq.member import Member
from pgq.meters import LineMeters
from pgq.permits import Permits
from pgq.queue import Settings
from pgq.quota import KeyLimit, Quota
from pgq.task import Settled

log = logging.getLogger("pgq")

TELL = 5.0  # seconds between two reports of how long tasks waited and ran
STRAYS_AFTER = 2.0  # seconds into a new session, when the statements of the lost one have ended
OFTEN = 0.005  # seconds: rings that follow each other faster show that work keeps coming; then nobody should ring
UNTOLD = 5  # polls between two looks at the settings where changes of them would be heard of
DOUBT = 0.05  # seconds until it is asked again whether the others still count this worker in
BUSY_NAP = (0.001, 0.1)  # seconds: first and longest pause while an enqueue is in flight


class Line:
    """Feeds a board from its queues; `bell_works` says whether a ring would be heard."""

    def __init__(
        self,
        config: Config,
        board: Board,
        member: Member,
        bell_works: Callable[[], bool],
        known: Callable[[], list[int]],
        permits: Permits,
    ) -> None:
        self.meters = LineMeters()
        self._config = config
        self._board = board
        self._member = member
        self._bell_works = bell_works
        self._known = known
        self._permits = permits
        self._sessions = 0
        self._strays_at = 0.0
        self.clock = Clock()
        self._told_at = 0.0
        self._stopping = False
        self._settings_at = 0.0
        self._busy_naps: dict[str, float] = {}

    async def work(self, conn: psycopg.AsyncConnection) -> None:
        """Feed the board on this connection until stopped. Raises psycopg.Error when it is lost."""
        for lane in self._board.lanes.values():  # a new session holds no bell and has heard nothing
            lane.holds_bell, lane.rung = False, True
        self._settings_at = 0.0
        self._sessions += 1
        self._strays_at = monotonic() + STRAYS_AFTER
        try:
            while not self._stopping:
                await self._refresh(conn)
                await self.turn(conn)
        finally:
            await self._let_go(conn)

    def stop(self) -> None:
        """End `work` after the round trip under way."""
        self._stopping = True
        self._board.hungry.set()

    def stir(self, queue: str = "") -> None:
        """Look at a queue (all for ``""``) at once: it rang."""
        for lane in self._board.lanes.values():
            if queue in {"", lane.settings.name}:
                lane.rung = True
        self._board.hungry.set()

    def close(self, queue: str, seconds: float) -> None:
        """Claim nothing of a queue for a while: somebody it works for said "not now" to another worker."""
        if lane := self._board.lanes.get(queue):
            lane.gate.close(monotonic() + seconds)

    def reload(self) -> None:
        """Read the settings again at once, and look from the beginning: what was paused found nothing at all."""
        self._settings_at = 0.0
        self._reset()
        self._board.hungry.set()

    def expect(self, lane: Lane, settled: Settled, margin: float) -> None:
        """Look at a drained lane again `margin` seconds after one of its own tasks comes back."""
        due = settled.due or self.clock.now()
        now = monotonic()
        at = now + (due - self.clock.now()).total_seconds() + (settled.after or 0) + margin
        lane.expected = min(at, lane.expected) if lane.expected > now else at
        if lane.drained:
            lane.look_at = min(lane.look_at, at)
            self._board.hungry.set()

    async def turn(self, conn: psycopg.AsyncConnection) -> int:
        """One trip down the line; returns how many tasks were claimed. Waits when there is nothing to ask for."""
        wants = [want for lane in self._board.lanes.values() if (want := self._want(lane))] if self._member.sure else []
        if not wants:
            await self._pass_on(conn, [lane for lane in self._board.lanes.values() if lane.rung or not lane.drained])
            await self._wait()
            return 0
        claimed, began = 0, monotonic()
        replies = await claim(conn, self._member.id, wants, self.clock)
        self.meters.claim_seconds.observe(monotonic() - began)
        for want, found in zip(wants, replies, strict=True):
            self._take(want, found)
            claimed += len(found.tasks)
            self.meters.claimed[want.lane.settings.name] += len(found.tasks)
        self.meters.claim_tasks.observe(claimed)
        if claimed and all(want.lane.drained for want in wants):
            await asyncio.sleep(0)  # nothing hurries but what was found: its slots first, then another look
        return claimed

    def _want(self, lane: Lane) -> Want | None:
        lane.measure()
        count, now = lane.appetite(self._board.free), monotonic()
        if count <= 0 or not lane.wants_to_look(now) or lane.gate.closed(now):
            lane.gate.take_back(now)
            return None
        batch = None
        if lane.gate.limited:
            batch = lane.gate.permits(count, now)
            if batch is None:
                return None
            count = min(count, batch.granted)
        return self._look(lane, count, batch, now)

    def _look(self, lane: Lane, count: int, batch: Batch | None, now: float) -> Want:
        """Return how to look: with the bell or without, by the cursor or from the beginning."""
        if not lane.drained:
            return Want(lane, count, batch, sweep=lane.cursor.must_sweep(now), rouse=lane.holds_bell, tell=True)
        if lane.rung:
            often, lane.rung, lane.rung_at = now < lane.rung_at + OFTEN, False, now
            return Want(lane, count, batch, rouse=lane.holds_bell and often)
        works = self._bell_works()
        if lane.holds_bell:  # the backstop; when nobody would hear a ring, let go of the bell
            sweep = lane.cursor.may_sweep(now)
            return Want(lane, count, batch, sweep=sweep, rouse=not works, tell=not works, ahead=True)
        return Want(lane, count, batch, sweep=lane.cursor.may_sweep(now), doze=works, ahead=True)

    def _take(self, want: Want, found: Found) -> None:
        lane = want.lane
        lane.holds_bell = found.bell == "holder" or (lane.holds_bell and not want.rouse)
        lane.drained = len(found.tasks) < want.count
        lane.look_at = 0.0
        if want.batch is not None:
            lane.gate.claimed(want.batch, len(found.tasks), monotonic())
        if found.tasks:
            self._permits.admit(lane, found.tasks)
        elif want.ahead and (want.doze or lane.holds_bell or not self._bell_works()):
            lane.look_at = monotonic() + self._nap(want, found)

    def _nap(self, want: Want, found: Found) -> float:
        """Return how long a lane that found nothing may sleep."""
        name = want.lane.settings.name
        if found.bell == "busy":
            nap = self._busy_naps.get(name, BUSY_NAP[0])
            self._busy_naps[name] = min(nap * 2, BUSY_NAP[1])
            return nap
        self._busy_naps.pop(name, None)
        nap = self._config.poll
        if want.lane.expected > monotonic():  # one of our own retries, perhaps not written yet when we looked
            nap = min(nap, want.lane.expected - monotonic())
        if found.next_due is not None:
            nap = min(nap, found.next_due)
        if not want.sweep:  # a late commit may lie below the cursor: look there as soon as allowed
            nap = min(nap, want.lane.cursor.next_sweep - monotonic())
        return max(nap, 0.001)

    async def _wait(self) -> None:
        """Sleep until a slot is free, somebody rings, or a lane wants to look again."""
        hungry = self._board.hungry
        hungry.clear()
        hungry_lanes = [lane for lane in self._board.lanes.values() if lane.appetite(self._board.free) > 0]
        looks = (
            [lane.gate.next_look(lane.look_at) for lane in hungry_lanes] if self._member.sure else [monotonic() + DOUBT]
        )
        until = min([self._fresh_until, *looks]) - monotonic()
        if until > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(hungry.wait(), until)

    @property
    def _fresh_until(self) -> float:
        """When to read the settings again although nobody said that they changed."""
        return self._settings_at + self._config.poll * (UNTOLD if self._bell_works() else 1)

    async def _refresh(self, conn: psycopg.AsyncConnection) -> None:
        """Register again if the others declared us dead; take up changed settings and the time."""
        if not self._member.counted_in:
            self._permits.hand_back()  # what was claimed before, and not started, has been given to others
            await self._member.join(conn)
            self._reset()  # meanwhile claims found nothing, whatever there was
        if monotonic() < self._fresh_until:
            return
        self._settings_at = monotonic()
        if self._sessions > 1 and monotonic() > self._strays_at:
            self._sessions = 1
            await self._give_strays_back(conn)
        for settings in await read_settings(conn, self._member.queues):
            self._permits.change(self._board.lanes[settings.name], settings)
        self._permits.change_kinds(await read_kinds(conn))
        if monotonic() > self._told_at + TELL:
            await self.tell(conn)
        ((now,),) = await arun(conn, Call("clock", {}))
        if self.clock.set(now):
            self._reset()

    async def tell(self, conn: psycopg.AsyncConnection) -> None:
        """Tell how long tasks waited and ran since the last time."""
        self._told_at = monotonic()
        for lane in self._board.lanes.values():
            if told := lane.timings.take(lane.settings.name):
                await arun(conn, told)

    def _reset(self) -> None:
        for lane in self._board.lanes.values():
            lane.cursor.reset()

    async def _give_strays_back(self, conn: psycopg.AsyncConnection) -> None:
        """Give back what the lost session claimed without telling us."""
        for queue in self._member.queues:
            values = {"queue": queue, "worker_id": self._member.id, "known": self._known()}
            for (task_id,) in await arun(conn, Call("strays", values)):
                about = {"task_id": task_id, "queue": queue}
                log.warning("task %s was claimed as its connection was lost; given back", task_id, extra=about)

    async def _let_go(self, conn: psycopg.AsyncConnection) -> None:
        """Pass the bells on before this session ends; where that fails, the lock ends with the session."""
        with contextlib.suppress(psycopg.Error):
            if not conn.closed:
                await self._pass_on(conn, self._board.lanes.values())
        for lane in self._board.lanes.values():
            lane.holds_bell = False

    async def _pass_on(self, conn: psycopg.AsyncConnection, lanes: Iterable[Lane]) -> None:
        """Let go of the bells of these lanes, and wake the other sleepers."""
        for lane in lanes:
            if lane.holds_bell:
                values = {"bell": lane.settings.bell, "queue": lane.settings.name, "tell": True}
                await arun(conn, Call("rouse", values))
                lane.holds_bell = False


async def read_kinds(conn: psycopg.AsyncConnection) -> list[KeyLimit]:
    """Return the kinds of limit keys as they are now."""
    rows = await arun(conn, Call("limit_settings", {}))
    return [KeyLimit(name, Quota(rate_max, rate_per, concurrency)) for name, rate_max, rate_per, concurrency in rows]


async def read_settings(conn: psycopg.AsyncConnection, queues: list[str]) -> list[Settings]:
    """Return the current settings of these queues."""
    return [Settings.from_row(row) for row in await arun(conn, Call("settings", {"queues": queues}))]
