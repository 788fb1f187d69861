"""The worker: one process that brings tasks down the line. The only file that knows every stage.

The line claims and feeds the slots; slots run tasks and hand outcomes to the settler. Around them: the doorbell, the
heartbeat, upkeep, and a watch over deadlines.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from time import monotonic

import psycopg

from pgq.app import App
from pgq.children import Children
from pgq.config import Config
from pgq.connect import aconnect, sessions
from pgq.doorbell import Doorbell
from pgq.errors import ConfigError
from pgq.gate import Gate, own_limit
from pgq.grants import mark_of
from pgq.heartbeat import Beat, Heartbeat, Pulse
from pgq.lane import Board, Lane
from pgq.limiter import aconnect_redis
from pgq.line import Line, read_kinds, read_settings
from pgq.member import Member
from pgq.migrate import acheck
from pgq.permits import Permits
from pgq.queue import Settings
from pgq.run import Runner
from pgq.settle import Settler
from pgq.task import Failed, HandBack, Outcome, RateLimited, Recorded, Task, judge
from pgq.upkeep import Upkeep
from pgq.watch import Watch

log = logging.getLogger("pgq")

WATCH = 0.1  # seconds between two looks at the deadlines
BREATH = 0.0005  # seconds a slot may run tasks that end at once before claims and settles get their turn
STALE = 2.0  # seconds a claimed task may wait in the buffer before it goes back
Work = Callable[[psycopg.AsyncConnection], Awaitable[None]]


class Worker:
    """One worker process: `await Worker(app, config).run()`. Any number of them, on any number of hosts."""

    def __init__(self, app: App, config: Config, queues: Iterable[str] | None = None, name: str = "") -> None:
        self.app = app
        self.config = config
        self.member = Member(config, list(app.served(queues)), name)
        self.stopping = asyncio.Event()
        self._over = asyncio.Event()
        self._closing = False  # slots end after what they run

    async def run(self, *, burst: bool = False) -> None:
        """Work until stopped; with `burst`, until nothing is due.

        Raises ConfigError and SchemaError at the start; later faults of Postgres are waited out.
        """
        await self._open()
        heartbeat = self._start_heartbeat()
        slots = [asyncio.create_task(self._slot()) for _ in range(self.config.concurrency)]
        feeding = asyncio.create_task(self._keep("claim", self.line.work, self.stopping))
        parts = [
            asyncio.create_task(self._keep("settle", self.settler.write, self._over)),
            asyncio.create_task(self._keep("listen", self.doorbell.listen, self._over)),
            asyncio.create_task(self._keep("upkeep", self.upkeep.work, self._over)),
            asyncio.create_task(self.permits.loop.work()),
            asyncio.create_task(self._watch()),
        ]
        if burst:
            parts.append(asyncio.create_task(self._stop_when_idle()))
        try:
            await self.stopping.wait()
            await asyncio.gather(feeding, return_exceptions=True)
            await self._finish(slots)
        finally:  # when `run` itself is cancelled, what it held is given back by the others
            heartbeat.stop()
            await self._close([feeding, *slots, *parts])

    def stop(self) -> None:
        """Stop claiming, let what runs finish within the grace time, hand the rest back, and end `run`."""
        self.stopping.set()
        if hasattr(self, "line"):
            self.board.closed = True
            self.line.stop()

    async def ready(self, conn: psycopg.AsyncConnection) -> list[Lane]:
        """Write what the app declares and return its lanes. Raises ConfigError, SchemaError where it cannot work."""
        await acheck(conn)
        await self.app.adeclare(conn)
        lanes = [self._lane(settings) for settings in await read_settings(conn, self.member.queues)]
        self._check_keys()
        if self.config.redis_url:  # what cannot be read is said before anybody sees this worker
            await aconnect_redis(self.config.redis_url).aclose()
        return lanes

    async def _open(self) -> None:
        conn = await aconnect(self.config.require_dsn(), "start")
        async with conn:
            lanes = await self.ready(conn)
            kinds = await read_kinds(conn)
            self.app.redis_url = self.app.redis_url or self.config.redis_url  # for handlers that use `app.limit`
            await self.member.join(conn)
        functions = {name: handler.function for name, handler in self.app.handlers.items()}
        self.board = Board(lanes, self.config.concurrency)
        self.doorbell = Doorbell(self.config.dsn, self._heard)
        self.permits = Permits(self.config, self.board, lambda: self.member.id, self._back, self._runs)
        self.permits.change_kinds(kinds)
        self.line = Line(self.config, self.board, self.member, lambda: self.doorbell.works, self._known, self.permits)
        self.children = Children(self.app.path)
        self.runner = Runner(functions, self.children, self._may_start)
        self.settler = Settler(self.config.flush, lambda queue: self.board.lanes[queue].settings)
        self.upkeep = Upkeep(self.config, Watch(self.config, self.permits.loop.client).look)
        log.info("worker %s (%s) serves %s", self.member.id, self.member.name, ", ".join(self.member.queues))

    async def _finish(self, slots: list[asyncio.Task[None]]) -> None:
        """Hand back what has not started, give what runs its grace, stop the rest, write every outcome."""
        for lane, task in self.permits.withdraw():
            self._back(lane, task, HandBack())
        for lane in self.board.lanes.values():
            self._hand_back(lane)
        await _until(lambda: not self.runner.running, self.config.grace)
        for run in list(self.runner.running.values()):
            run.end("shutdown")
        await _until(lambda: not self.runner.running, 1.0)
        self._closing = True
        for slot in slots:
            slot.cancel()
        await asyncio.gather(*slots, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.settler.drained(), 10)

    async def _close(self, parts: list[asyncio.Task[None]]) -> None:
        self._closing = True
        self._over.set()
        await _end(parts)
        await self.permits.close()
        await self.children.close()
        self.runner.close()
        with contextlib.suppress(psycopg.Error, OSError):
            conn = await aconnect(self.config.dsn, "stop")
            async with conn:
                await self.member.leave(conn)
        log.info("worker %s stopped", self.member.id)

    async def _keep(self, role: str, work: Work, over: asyncio.Event) -> None:
        """Carry out one part on a connection of its own until `over`; a lost connection is replaced."""
        async with contextlib.aclosing(sessions(self.config.dsn, role, over)) as connections:
            async for conn in connections:
                try:
                    await work(conn)
                except (psycopg.Error, TimeoutError, OSError) as error:
                    log.warning("%s: %s", role, str(error).splitlines()[0] if str(error) else type(error).__name__)
                except Exception:
                    log.exception("%s failed; it goes on with a new connection", role)
                if not over.is_set():
                    await asyncio.sleep(0.05)

    async def _slot(self) -> None:
        slot = asyncio.current_task()
        assert slot is not None  # noqa: S101 - asked once, not once a task: it costs as much as a handler
        now = breath = 0.0
        while not self._closing:
            if now > breath:
                await self.board.breathe()
                breath = monotonic() + BREATH
            lane, task = await self.board.next()
            began = monotonic()
            outcome: Outcome = HandBack()
            try:
                outcome = await self.runner.run(task, slot)
            except asyncio.CancelledError:
                if self._closing:
                    raise
                slot.uncancel()
                outcome = Failed("the handler cancelled the asyncio task it ran in")
            finally:
                now = monotonic()
                self.board.done(lane, now - began)
                self.permits.ended(lane, task)
                self._record(lane, task, outcome)

    async def _may_start(self, task: Task) -> bool:
        return await self.permits.confirm(self.board.lanes[task.queue], task)

    def _back(self, lane: Lane, task: Task, outcome: Outcome) -> None:
        """Let a task go back that has not started."""
        self.permits.ended(lane, task, started=False)
        self._record(lane, task, outcome)

    def _record(self, lane: Lane, task: Task, outcome: Outcome) -> None:
        if isinstance(outcome, Recorded):
            return
        if isinstance(outcome, RateLimited):
            self.permits.slow_down(lane, task, outcome)
        settled = judge(task, lane.settings, outcome)
        self.settler.add(task, settled)
        if settled.error is not None:
            log.warning("task %s (%s) %s: %s", task.id, task.task, settled.status, settled.error)
        if settled.due is not None or settled.after is not None:
            self.line.expect(lane, settled, self.config.flush)

    def _hand_back(self, lane: Lane) -> None:
        while lane.buffer:
            self._back(lane, lane.buffer.popleft(), HandBack())
        lane.gate.start_by = None

    async def _watch(self) -> None:
        """Stop runs at their deadline; hand back what waits too long in a buffer."""
        while True:
            await asyncio.sleep(WATCH)
            now = monotonic()
            for run in list(self.runner.running.values()):
                if now > run.context.deadline:
                    run.end("timeout")
            for lane in self.board.lanes.values():
                if lane.buffer and now > lane.added_at + STALE:
                    self._hand_back(lane)

    async def _stop_when_idle(self) -> None:
        while not self._idle():  # noqa: ASYNC110 - several parts must rest at the same moment
            await asyncio.sleep(0.01)
        self.stop()

    def _idle(self) -> bool:
        resting = all(
            not lane.buffer
            and not lane.asking
            and lane.gate.at_rest
            and (lane.settings.paused or (lane.drained and lane.look_at > 0))
            for lane in self.board.lanes.values()
        )
        return resting and not self.runner.running and not self.settler.backlog

    def _heard(self, kind: str, rest: str) -> None:
        """Take a note of the doorbell."""
        if kind == "ring":
            self.line.stir(rest)
        elif kind == "settings":
            self.line.reload()
        elif kind == "closed":
            seconds, _, queue = rest.partition(":")
            self.line.close(queue, float(seconds))
        elif kind == "cancel" and rest.isdigit():
            self._cancel(int(rest))

    def _known(self) -> list[int]:
        """Return the ids of all tasks this process holds."""
        buffered = [task.id for lane in self.board.lanes.values() for task in lane.buffer]
        return [*self.runner.running, *buffered, *self.permits.waiting(), *self.settler.held()]

    def _runs(self) -> list[Task]:
        return [run.task for run in self.runner.running.values()]

    def _cancel(self, task_id: int) -> None:
        if run := self.runner.running.get(task_id):
            run.end("cancel")
        for lane in self.board.lanes.values():
            for task in [task for task in lane.buffer if task.id == task_id]:
                lane.buffer.remove(task)
                self._back(lane, task, HandBack())
        for lane, task in self.permits.withdraw(task_id):
            self._back(lane, task, HandBack())

    def _start_heartbeat(self) -> Heartbeat:
        loop = asyncio.get_running_loop()

        def heard(pulse: Pulse) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody is left to tell
                loop.call_soon_threadsafe(self._pulse, pulse)

        heartbeat = Heartbeat(self.config.dsn, self.config.heartbeat, self._beat, heard, self.permits.renew)
        heartbeat.start()
        return heartbeat

    def _beat(self) -> Beat:
        runs = list(self.runner.running.values())
        long_ago = monotonic() - self.config.heartbeat
        old = [run.task for run in runs if run.started_at < long_ago and not run.context.completed]
        return Beat(self.member.id, len(runs), self.stopping.is_set(), old)

    def _pulse(self, pulse: Pulse) -> None:
        if not pulse.alive and not self.stopping.is_set() and self.member.was_declared_dead():
            self.line.stir()
        for task_id in pulse.cancelled:
            self._cancel(task_id)
        for task in pulse.lost:
            run = self.runner.running.get(task.id)
            if run is not None and run.task is task and not run.context.completed:
                run.end("lost")

    def _check_keys(self) -> None:
        for name in self.app.key_limits:
            if not self.config.redis_url:
                raise ConfigError(f"limit {name!r} needs Redis: give --redis-url or PGQ_REDIS_URL")

    def _lane(self, settings: Settings) -> Lane:
        gate = Gate(own_limit(self.config.limit_prefix, settings), mark_of(self.member.name))
        if gate.limited and not self.config.redis_url:  # better no worker than one that overruns somebody's server
            raise ConfigError(
                f"queue {settings.name!r} is limited, which needs Redis: give --redis-url or PGQ_REDIS_URL"
            )
        names = [name for name, handler in self.app.handlers.items() if handler.function.queue == settings.name]
        if any(self.app.handlers[name].function.kind == "process" for name in names) and not self.app.path:
            raise ConfigError("process handlers need the app's import path: App(path='package.module:app')")
        return Lane(settings, names, gate, self.config.concurrency, self.config.batch)


async def _end(parts: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended: a library in between may swallow a cancellation (wait_for did until 3.12)."""
    left = set(parts)
    while left:
        for part in left:
            part.cancel()
        _, left = await asyncio.wait(left, timeout=0.2)
    await asyncio.gather(*parts, return_exceptions=True)


async def _until(reached: Callable[[], bool], seconds: float) -> None:
    ends = monotonic() + seconds
    while not reached() and monotonic() < ends:  # noqa: ASYNC110 - only at shutdown
        await asyncio.sleep(0.01)
