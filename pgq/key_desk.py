"""The part of the limiter's loop that speaks for the keys of all queues: pauses, ends, and who may start.

Part of one coroutine, as the rest of the loop is: nothing here runs beside itself.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from pgq.config import Config
from pgq.grants import Answer, Limit, Request
from pgq.keyring import MOST, Bearer, Keyring
from pgq.lane import Board, Lane
from pgq.limit import acquire, answers, pause, report
from pgq.memory import Memory
from pgq.park import Parker
from pgq.script import Verb
from pgq.task import Dead, Outcome, Task, Throttled

AT_ONCE = 1_000  # ends of runs in one report
HORIZON = 3600.0  # seconds: who would wait longer is not told its turn, but to ask again some time in the hour after

Back = Callable[[Lane, Task, Outcome], None]  # a task goes back without having started
Say = Callable[[Verb], Awaitable[Any]]


class KeyDesk:
    """Asks for those in the keyring; `back` takes what may not start, `wake` lets the loop come by again."""

    def __init__(
        self, config: Config, board: Board, memory: Memory, say: Say, back: Back, wake: Callable[[], None]
    ) -> None:
        self.keyring = Keyring(config.limit_prefix, wake)
        self.pauses: list[tuple[tuple[Limit, ...], float]] = []  # limits, seconds
        self._config = config
        self._board = board
        self._memory = memory
        self._say = say
        self._back = back
        self._wake = wake
        self._parker = Parker(config, board, say)
        self._unheard = True  # whether the limiter must be told what runs is asked before a task has to wait for it

    async def close(self) -> None:
        """Stop what is still being parked."""
        await self._parker.close()

    async def serve(self) -> None:
        """Pause, report and ask for the keys of all queues. Raises RedisError, OSError, psycopg.Error."""
        ring, ttl = self.keyring, self._config.lease
        while self.pauses:
            limits, seconds = self.pauses[0]
            await self._say(pause(ttl, seconds, limits))
            del self.pauses[0]
        if ring.over or ring.news:
            over, news, now = ring.over[:AT_ONCE], ring.news[:AT_ONCE], monotonic()
            told = [*ring.told_begun(news, now), *(end.told(now) for end in over)]
            await self._say(report(ttl, told))
            del ring.over[: len(over)], ring.news[: len(news)]
        await self._memory.publish(ring.kinds)
        early = self._unheard and bool(ring.kinds)
        if early:
            await self._acquire([])
            self._unheard = False
        if self._memory.keys_unknown and (early or ring.waiting or ring.bearers):
            self._memory.keys_unknown = False  # first: what makes them unknown meanwhile must stay
            self._memory.keys_unknown = not await self._memory.restore_keys(ring) or self._memory.keys_unknown
        if asking := ring.next(monotonic()):
            await self._ask(asking)
        if ring.over or ring.news or ring.asks_at <= monotonic():
            self._wake()

    async def lost(self, bearers: list[Bearer]) -> set[int]:
        """Make the permits of claimed tasks count from now; returns the ids of those that have lost theirs."""
        gone: set[int] = set()
        for start in range(0, len(bearers), MOST):
            some = bearers[start : start + MOST]
            again = await self._acquire([self.keyring.request(bearer) for bearer in some])
            gone |= {b.task.id for b, one in zip(some, again or [], strict=bool(again)) if not one.granted}
        return gone

    def start(self, bearer: Bearer, asked_at: float) -> None:
        """Let somebody start whose permits were asked for at a moment."""
        bearer.lane.gate.must_start(asked_at + self.patience(bearer))
        self._board.add(bearer.lane, [bearer.task])

    def patience(self, bearer: Bearer) -> float:
        """Return after how many seconds the permits of a task must be made new before it starts."""
        return bearer.slack / 2 if bearer.rated else self._config.lease / 2

    async def _ask(self, bearers: list[Bearer]) -> None:
        asked_at = monotonic()
        got = await self._acquire([self.keyring.request(bearer) for bearer in bearers])
        if got is None:
            return
        self._parker.denied(zip(bearers, got, strict=True))
        for bearer, answer in zip(bearers, got, strict=True):
            if bearer in self.keyring.waiting:
                if not self.keyring.stays(bearer, answer, monotonic()):
                    self.keyring.answered(bearer, answer)
                    self.start(bearer, asked_at) if answer.granted else self._deny(bearer, answer)
            elif answer.granted:  # it was cancelled meanwhile
                self.keyring.let_go(bearer, 0)

    async def _acquire(self, requests: list[Request]) -> list[Answer] | None:
        """Ask for keys; None where the limiter must be told first what runs. Asked again, a permit is good as new."""
        verb = acquire(self._config.limit_prefix, self._config.lease, requests)
        got = answers(requests, await self._say(verb))
        self._memory.keys_unknown = self._memory.keys_unknown or got is None
        return got

    def _deny(self, bearer: Bearer, answer: Answer) -> None:
        assert answer.limit is not None  # noqa: S101 - whatever denies has a name
        if answer.wait is None:
            most = answer.limit.quota.max
            why = f"its weight {bearer.units} is more than limit {answer.limit.name} ever allows, {most}"
            self._back(bearer.lane, bearer.task, Dead(why))
        else:
            wait = answer.wait if answer.wait <= HORIZON else HORIZON * (1 + random.random())  # noqa: S311 - no secret
            self._back(bearer.lane, bearer.task, Throttled(wait, answer.limit.name))
