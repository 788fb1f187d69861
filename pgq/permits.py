"""A worker's permits: what the line, the slots and the heartbeat say of them, for all lanes.

Nothing here waits for the limiter but `confirm`, for a child that took a while to come, and `renew`, in the heartbeat's
thread; the rest is noted, and the loop says it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import groupby
from operator import attrgetter
from time import monotonic
from typing import Any

import psycopg

from pgq.config import Config
from pgq.connect import aconnect
from pgq.db import Call, arun
from pgq.gate import Gate, own_limit
from pgq.grants import Held, Limit, by_place
from pgq.key_desk import Back
from pgq.lane import Board, Lane
from pgq.limit import hold, stamp
from pgq.limiter import RedisError, call, connect_redis
from pgq.limiter_loop import LimiterLoop
from pgq.queue import Settings
from pgq.quota import KeyLimit
from pgq.redact import first_line
from pgq.task import HandBack, RateLimited, Snooze, Task

log = logging.getLogger("pgq")

LATER = 5.0  # seconds until a task is looked at again whose kind of key nobody declared, or that no limiter can serve


class Permits:
    """The permits of every lane of a board; `back` takes what may not start.

    `running` are the tasks that run now, of all queues.
    """

    def __init__(
        self,
        config: Config,
        board: Board,
        worker_id: Callable[[], int],
        back: Back,
        running: Callable[[], Iterable[Task]] = tuple,
    ) -> None:
        self._config = config
        self._board = board
        self._back = back
        self._running = running
        self._sync_client: Any = None  # the heartbeat's, in its thread
        self._telling: set[asyncio.Task[None]] = set()
        self._starting: list[Task] = []  # whose handlers are called in this turn of the event loop
        self.loop = LimiterLoop(config, board, worker_id, back)
        self.keyring = self.loop.keyring

    def change(self, lane: Lane, settings: Settings) -> None:
        """Take up the settings of a queue."""
        lane.settings = settings
        limit = own_limit(self._config.limit_prefix, settings)
        if limit != lane.gate.limit:
            if not lane.gate.limited:
                lane.gate.adopt(Counter(task.lease for task in self._claimed(lane)), monotonic())
            lane.gate.change(limit)
            if self.loop.client is None and lane.gate.limited:
                log.error(
                    "queue %s has a limit now, and this worker has no Redis URL: it claims nothing of it", settings.name
                )
            self.loop.wake()

    def _claimed(self, lane: Lane) -> list[Task]:
        """Return what this process holds of a queue and has not ended."""
        running = [task for task in self._running() if task.queue == lane.settings.name]
        return [*running, *lane.buffer, *(bearer.task for bearer in self.keyring.waiting if bearer.lane is lane)]

    def change_kinds(self, kinds: Iterable[KeyLimit]) -> None:
        """Take up changed kinds of keys."""
        named = {kind.name: kind for kind in kinds}
        if named != self.keyring.kinds:
            self.keyring.kinds = named
            self.loop.memory.unpublished = True
            self.loop.wake()

    def admit(self, lane: Lane, tasks: list[Task]) -> None:
        """Pass claimed tasks on to the slots; those with keys wait for their permits first."""
        if free := [task for task in tasks if not task.limit_keys]:
            self._board.add(lane, free)
        for task in tasks:
            if task.limit_keys:
                self._ask(lane, task)

    def hand_back(self) -> None:
        """Let everything go back that was claimed and has not started; what is not ours any more is refused."""
        for lane, task in self.withdraw():
            self._back(lane, task, HandBack())
        for lane in self._board.lanes.values():
            self.empty(lane)

    def empty(self, lane: Lane) -> None:
        """Let what waits in a buffer go back."""
        while lane.buffer:
            self._back(lane, lane.buffer.popleft(), HandBack())
        lane.gate.start_by = None

    def _ask(self, lane: Lane, task: Task) -> None:
        kind = self.keyring.unknown_kind(task)
        if kind is None and self.loop.client is not None:
            self.keyring.add(lane, task)
            return
        why = "this worker has no Redis URL" if kind is None else f"nobody declared the limit {kind!r}"
        log.warning("task %s has limit keys, but %s: it waits", task.id, why)
        self._back(lane, task, Snooze(LATER))

    def starts(self, task: Task) -> None:
        """Say that the handler of a task has begun, or will have once it is the event loop's turn."""
        if not self._starting:
            asyncio.get_running_loop().call_soon(self._begun)
        self._starting.append(task)

    def _begun(self) -> None:
        tasks, self._starting, now = self._starting, [], monotonic()
        for lease, group in groupby(tasks, key=_lease):  # to hash a lease takes as long as all this
            some = list(group)
            self._board.lanes[some[0].queue].gate.begun(lease, len(some), now)
        for task in tasks:
            if task.limit_keys:
                self.keyring.begun(task, now)

    def ended(self, lane: Lane, task: Task, now: float, *, started: bool = True) -> None:
        """Say that a task ended now, or went back without having started."""
        if lane.gate.batches:
            lane.gate.ended(task.lease, now, started=started)
        if task.limit_keys:
            self.keyring.ended(task, started=started)

    def slow_down(self, lane: Lane, task: Task, told: RateLimited) -> None:
        """Let nothing start for a while under the task's keys, or in its queue where it has none."""
        limits = self.keyring.limits(task.limit_keys)
        if told.key is not None:
            limits = tuple(limit for limit in limits if limit.name == told.key)
        if not limits:
            already = lane.gate.shut_until >= monotonic() + told.seconds / 2  # others of the same burst said so before
            lane.gate.close(monotonic() + told.seconds)
            limits = (lane.gate.limit,) if lane.gate.limited else ()
            if not limits and not already:
                self._tell(lane.settings.name, told.seconds)
        if limits and self.loop.client is not None:
            self.loop.keys.pauses.append((limits, told.seconds))
            self.loop.wake()

    def _tell(self, queue: str, seconds: float) -> None:
        """Let the workers elsewhere know that a queue without a limit of its own is closed for a while."""
        telling = asyncio.create_task(self._tell_all(queue, seconds))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def _tell_all(self, queue: str, seconds: float) -> None:
        try:
            async with await aconnect(self._config.dsn, "limits") as conn:
                await arun(conn, Call("close_queue", {"queue": queue, "seconds": seconds}))
        except (psycopg.Error, OSError) as error:
            log.warning(
                "other workers were not told that queue %s is closed for %g s: %s", queue, seconds, first_line(error)
            )

    def waiting(self) -> list[int]:
        """Return the ids of the tasks that wait for their keys."""
        return [bearer.task.id for bearer in self.keyring.waiting]

    def withdraw(self, task_id: int | None = None) -> list[tuple[Lane, Task]]:
        """Let a task (all for None) wait for its keys no more; returns what was waiting."""
        out = [b for b in self.keyring.waiting if task_id is None or b.task.id == task_id]
        for bearer in out:
            self.keyring.remove(bearer)
        return [(bearer.lane, bearer.task) for bearer in out]

    async def confirm(self, lane: Lane, task: Task) -> bool:
        """Make the permits of a task count from now, where its child took a while to come; False: they are lost."""
        held = [(lane.gate.limit, task.lease.hex)] if task.lease in lane.gate.batches else []
        if (bearer := self.keyring.bearers.get(task.id)) is not None:
            held += [(limit, bearer.permit) for limit in bearer.limits]
        try:
            for limit, permit in held:
                if limit.quota.binds and not all(await self.loop.say(stamp(limit, self._config.lease, [permit]))):
                    return False
        except (RedisError, OSError):
            return lane.settings.on_limiter_down == "run"
        return True

    def renew(self) -> None:
        """Renew every hold; called by the heartbeat's thread while this worker counts as alive."""
        gates = [(lane.gate, lane.gate.held()) for lane in self._board.lanes.values() if lane.gate.limited]
        keys = self.keyring.held()
        pairs = [(gate.limit, permit) for gate, held in gates for permit in held] + keys
        if not pairs:
            return
        try:
            if self._sync_client is None:
                self._sync_client = connect_redis(self._config.redis_url)
            for group in by_place(pairs):
                place = group[0][0].place
                call(self._sync_client, hold(self._config.lease, group, place, complete=False, units=False))
        except (RedisError, OSError) as error:
            log.warning("the holds of limits were not renewed: %s", first_line(error))
            self.loop.distrust()
        self.loop.soon(lambda: self.renewed(gates, keys))

    def renewed(self, gates: list[tuple[Gate, list[Held]]], keys: list[tuple[Limit, Held]]) -> None:
        """Report once more what ended while it was renewed: the limiter may have heard of its end before that."""
        for gate, held in gates:
            gate.renewed(held)
        self.keyring.renewed(keys)

    async def close(self) -> None:
        """Report what ended, while that takes no time, and let go of the connections."""
        await asyncio.gather(*self._telling)
        await self.loop.close()
        if self._sync_client is not None:
            self._sync_client.close()


_lease = attrgetter("lease")
