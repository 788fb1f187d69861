"""The one loop of a worker that talks to the limiter, for all its lanes.

Why apart from the line: a lane without a limit must not notice when Redis is slow or away, so no claim ever waits for
it. A limited lane asks here, goes on when its permits have come, and the line turns without it meanwhile.

Hazards, each with a test: a reply that is lost (everything is named by a lease and said as absolute numbers, so it is
said again); a server that forgot everything (nothing is granted until Postgres has told it what runs); a worker that
dies (its holds lapse with its lease); permits that come late (stamped anew before anything starts).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection
from math import inf
from time import monotonic
from typing import Any
from uuid import UUID

import psycopg

from pgq.config import Config
from pgq.gate import Gate
from pgq.grants import Answer, Taken
from pgq.key_desk import Back, KeyDesk
from pgq.lane import Board, Lane
from pgq.limit import look, stamp, take, taken
from pgq.limiter import NoReply, RedisError, acall, aclose, aconnect_redis, hazard
from pgq.memory import Memory
from pgq.redact import first_line
from pgq.script import Verb
from pgq.task import HandBack, Snooze

log = logging.getLogger("pgq")

GATHER = 0.05  # seconds that ends of runs gather before they are reported, unless somebody asks for permits meanwhile
AWAY = (0.05, 1.0)  # seconds: first and longest pause between two looks whether the limiter is back
WAIT = 1.0  # seconds that a task with keys waits at a time while the limiter is away


class LimiterLoop:
    """Asks, reports and pauses at the limiter; `back` takes what may not start."""

    def __init__(self, config: Config, board: Board, worker_id: Callable[[], int], back: Back) -> None:
        self.client = aconnect_redis(config.redis_url) if config.redis_url else None
        self._config = config
        self._board = board
        self._back = back
        self._some = asyncio.Event()  # there is something to say
        self._urgent = asyncio.Event()  # and somebody waits for the answer
        self._away = 0.0  # the current pause, while the limiter is away
        self._look_at = 0.0  # when to look again whether it is back
        self._greeted = False
        self._thread: asyncio.AbstractEventLoop | None = None
        self.memory = Memory(config, self.say, worker_id)
        self.keys = KeyDesk(config, board, self.memory, self.say, back, self.wake)
        self.keyring = self.keys.keyring
        for lane in board.lanes.values():
            lane.gate.wake = self.wake
            lane.gate.keeps = config.lease / 2

    def wake(self) -> None:
        """Take up what there is to say: at once where somebody waits for the answer."""
        self._some.set()
        if self._pressing:
            self._urgent.set()

    async def say(self, verb: Verb) -> Any:
        """Carry out one verb and return its reply. Raises RedisError, OSError."""
        return await acall(self.client, verb)

    def soon(self, do: Callable[[], None]) -> None:
        """Do something in the loop's thread; called by others. Nothing where the loop has ended."""
        if self._thread is not None:
            with contextlib.suppress(RuntimeError):
                self._thread.call_soon_threadsafe(do)

    def distrust(self) -> None:
        """Tell the limiter what runs before it is asked again: holds lapse while nobody can renew them."""
        for gate in self._gates:
            gate.unknown = True
        self.memory.keys_unknown = True

    # — the loop —

    async def work(self) -> None:
        """Serve every lane for ever; while the limiter is away, each queue does what its setting says."""
        self._thread = asyncio.get_running_loop()
        if any(gate.must_speak for gate in self._gates):
            self._some.set()
        while self.client is not None:
            look_at = self._look_at if self._away else self.keyring.asks_at
            await _wait_for(self._some, look_at - monotonic() if look_at < inf else None)
            if not self._pressing:
                await _wait_for(self._urgent, GATHER)
            self._some.clear()
            self._urgent.clear()
            if self._away:
                self._do_without()
                if monotonic() < self._look_at or not await self._is_back():
                    continue
            await self._try()

    async def close(self) -> None:
        """Report what ended, while that takes no time, and let go of the connections."""
        await self.keys.close()
        if self.client is None:
            return
        for gate in self._gates:
            gate.want_nothing()
        try:
            await asyncio.wait_for(self._serve(), 2)
        except (RedisError, OSError, TimeoutError, psycopg.Error):
            log.warning("the limiter was not told what ended; what is held there lapses after %g s", self._config.lease)
        await aclose(self.client)
        await asyncio.sleep(0)  # transports of interrupted calls end in the next round of the loop

    async def _is_back(self) -> bool:
        """Return whether the limiter answers; what would rather run than wait does so meanwhile."""
        anything = next(iter(self._gates)).limit
        asked = asyncio.create_task(self.say(look(self._config.lease, [anything])))
        try:
            while not asked.done():
                self._some.clear()
                self._do_without()
                some = asyncio.create_task(self._some.wait())
                await asyncio.wait((asked, some), return_when=asyncio.FIRST_COMPLETED)
                some.cancel()
            await asked
        except (RedisError, OSError) as error:
            self._lost(error)
            return False
        finally:
            asked.cancel()
        return True

    async def _try(self) -> None:
        try:
            await self._serve()
        except Exception as error:
            if not isinstance(error, RedisError | OSError | psycopg.Error):
                log.exception("a talk with the limiter failed, trying again")
            self._lost(error)
        else:
            if self._away:
                log.info("the limiter is back")
            self._away = 0.0

    def _lost(self, error: BaseException) -> None:
        if not self._away:
            log.warning("the limiter is away: %s", first_line(error))
        self.distrust()
        if isinstance(error, NoReply):
            for gate in self._gates:
                gate.ask_anew()
        self._away = min(max(self._away * 2, AWAY[0]), AWAY[1])
        self._look_at = monotonic() + self._away
        self._do_without()
        self._some.set()

    def _do_without(self) -> None:
        """Let those queues go on that would rather run than wait."""
        now = monotonic()
        for lane in self._board.lanes.values():
            if lane.settings.on_limiter_down == "run":
                if lane.gate.ask is not None:
                    lane.gate.grant(Taken(lane.gate.ask[1]), now, now)
                if lane.stale:
                    self._fresh(lane, now)
        for bearer in list(self.keyring.waiting):
            if bearer.lane.settings.on_limiter_down == "run":
                self.keyring.answered(bearer, Answer(granted=True))
                self.keys.start(bearer, now)
            else:
                self.keyring.remove(bearer)
                self.keyring.let_go(bearer, 0)  # what was asked may still be granted
                self._back(bearer.lane, bearer.task, Snooze(WAIT))
        self._board.hungry.set()

    @property
    def _pressing(self) -> bool:
        """Whether somebody waits for an answer."""
        return (
            self.keyring.asks_at <= monotonic()
            or bool(self.keys.pauses)
            or any(
                lane.stale or lane.gate.ask is not None or (lane.gate.must_report and lane.gate.short)
                for lane in self._board.lanes.values()
            )
        )

    @property
    def _gates(self) -> list[Gate]:
        return [lane.gate for lane in self._board.lanes.values()]

    async def _serve(self) -> None:
        if not self._greeted:
            if (warning := await hazard(self.client)) is not None:
                log.warning("%s", warning)
            self._greeted = True
        work = [self._serve_lane(lane) for lane in self._board.lanes.values() if lane.stale or lane.gate.must_speak]
        for result in await asyncio.gather(*work, self.keys.serve(), return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _serve_lane(self, lane: Lane) -> None:
        """Freshen what waits in its buffer, report what ended, ask for what it needs."""
        if lane.stale:
            await self._freshen(lane)
        gate = lane.gate
        if not gate.must_speak:
            return
        if gate.limited and gate.unknown:
            gate.unknown = False  # first: what makes it unknown meanwhile must stay
            if not await self.memory.restore_queue(gate, lane.settings.name):
                gate.unknown = True
                self.wake()
                return
        asked_at = monotonic()
        reports = gate.reports(asked_at)
        permit, want = (gate.ask[0].hex, gate.ask[1]) if gate.ask is not None else ("", 0)
        got = taken(await self.say(take(gate.limit, self._config.lease, permit, want, reports, gate.slack)))
        gate.reported(reports)
        gate.unheard = False
        if got.forgotten:
            gate.unknown = True
            self.wake()
        elif want:
            gate.grant(got, asked_at, monotonic())
            self._board.hungry.set()

    async def _freshen(self, lane: Lane) -> None:
        """Make the permits of what waits in a lane's buffer count from now; what lost its permit goes back."""
        tasks, now = list(lane.buffer), monotonic()
        lost: set[int] = set()
        leases = list({task.lease for task in tasks})
        if lane.gate.limited and tasks:
            kept = await self.say(stamp(lane.gate.limit, self._config.lease, [lease.hex for lease in leases]))
            gone = {lease for lease, one in zip(leases, kept, strict=True) if not one}
            lost |= {task.id for task in tasks if task.lease in gone}
        bearers = [bearer for task in tasks if (bearer := self.keyring.bearers.get(task.id))]
        lost |= await self.keys.lost(bearers)
        for task in [task for task in lane.buffer if task.id in lost]:
            lane.buffer.remove(task)
            self._back(lane, task, HandBack())
        self._fresh(lane, now, leases)

    def _fresh(self, lane: Lane, now: float, leases: Collection[UUID] | None = None) -> None:
        """Let go on what waits under these leases (all for None); what came meanwhile is as old as it is."""
        lane.stale = False
        lane.gate.start_by = None
        waiting = {task.lease for task in lane.buffer}
        if waiting and lane.gate.limited:
            fresh = waiting if leases is None else waiting.intersection(leases)
            lane.gate.refreshed(fresh, now)
            lane.gate.must_start(lane.gate.good_until(waiting - fresh))
        for bearer in [b for task in lane.buffer if (b := self.keyring.bearers.get(task.id))]:
            lane.gate.must_start(now + self.keys.patience(bearer))
        self._board.wake(len(lane.buffer))


async def _wait_for(event: asyncio.Event, seconds: float | None) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
