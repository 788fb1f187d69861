"""The worker: one process that brings tasks down the line. The only file that knows every stage.

The line claims and feeds the slots; slots run tasks and hand outcomes to the settler. Around them: the doorbell, the
heartbeat, upkeep, and a watch over deadlines.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping
from time import monotonic

import psycopg

from pgq.app import App
from pgq.children import Children
from pgq.config import Config
from pgq.connect import aconnect
from pgq.doorbell import Doorbell, read_id, read_seconds
from pgq.heartbeat import Beat, Heartbeat, Pulse
from pgq.lane import Board, Lane
from pgq.line import Line, read_kinds
from pgq.member import Member
from pgq.parts import Work, end, go_on, keep, until
from pgq.permits import Permits
from pgq.ready import make_ready
from pgq.run import Run, Runner
from pgq.settle import Settler
from pgq.starts import Starts
from pgq.task import Failed, HandBack, Outcome, RateLimited, Recorded, Task, judge
from pgq.upkeep import Upkeep
from pgq.watch import Watch

log = logging.getLogger("pgq")

WATCH = 0.1  # seconds between two looks at the deadlines
BREATH = 0.0005  # seconds a slot may run tasks that end at once before claims and settles get their turn
PROMPT = 0.01  # seconds that a start may take without its permits being looked at again
GOODBYE = 5.0  # seconds for taking leave: the others notice anyway
STALE = 2.0  # seconds a claimed task may wait in the buffer before it goes back


class Worker:
    """One worker process: `await Worker(app, config).run()`. Any number of them, on any number of hosts.

    `name` is what it registers as, `under` the supervisor that started it and its span (`host:pid 2..16`). `beside` is
    other work, by name: each gets a connection of its own, and a new one when that is lost.
    """

    def __init__(
        self, app: App, config: Config, queues: Iterable[str] | None = None, name: str = "", under: str = "",
        beside: Mapping[str, Work] | None = None,
    ) -> None:  # fmt: skip
        self._beside = dict(beside or {})
        self.app = app
        self.config = config
        self.member = Member(config, list(app.served(queues)), name, list(app.handlers), under)
        self.stopping = asyncio.Event()
        self._over = asyncio.Event()
        self._closing = False  # slots end after what they run

    async def run(self, *, burst: bool = False) -> None:
        """Work until stopped; with `burst`, until nothing is due.

        Raises ConfigError and SchemaError at the start; later faults of Postgres are waited out.
        """
        await self._open()
        heartbeat = self._start_heartbeat()
        slots = [asyncio.create_task(go_on("a slot", self._slot)) for _ in range(self.config.concurrency)]
        dsn = self.config.dsn
        feeding = asyncio.create_task(keep(dsn, "claim", self.line.work, self.stopping))
        parts = [
            asyncio.create_task(keep(dsn, "settle", self.settler.write, self._over)),
            asyncio.create_task(keep(dsn, "listen", self.doorbell.listen, self._over)),
            asyncio.create_task(keep(dsn, "upkeep", self.upkeep.work, self._over)),
            asyncio.create_task(self.permits.loop.work()),
            asyncio.create_task(go_on("watch", self._watch)),
            asyncio.create_task(go_on("starts", lambda: self.starts.prolong(self.runner.preparing))),
            asyncio.create_task(self._keep_starts()),
            *(asyncio.create_task(keep(dsn, role, work, self._over)) for role, work in self._beside.items()),
        ]
        if burst:
            parts.append(asyncio.create_task(self._stop_when_idle()))
        try:
            await self.stopping.wait()
            ends = monotonic() + self.config.grace
            await asyncio.wait([feeding], timeout=self.config.grace)  # Postgres may not answer the claim under way
            await end([feeding])
            await self._finish(slots, ends - monotonic())
        finally:  # when `run` itself is cancelled, what it held is given back by the others
            heartbeat.stop()
            await self._close([feeding, *slots, *parts])

    def stop(self) -> None:
        """Stop claiming, let what runs finish within the grace time, hand the rest back, and end `run`."""
        self.stopping.set()
        if hasattr(self, "line"):
            self.board.closed = True
            self.line.stop()

    async def _open(self) -> None:
        conn = await aconnect(self.config.require_dsn(), "start")
        async with conn:
            lanes = await make_ready(conn, self.app, self.config, self.member.queues, self.member.name)
            kinds = await read_kinds(conn)
            self.app.redis_url = self.app.redis_url or self.config.redis_url  # for handlers that use `app.limit`
            await self.member.join(conn)
        functions = {name: handler.function for name, handler in self.app.handlers.items()}
        self.board = Board(lanes, self.config.concurrency)
        self.doorbell = Doorbell(self.config.dsn, self._heard)
        self.permits = Permits(self.config, self.board, lambda: self.member.id, self._back, self._runs)
        self.permits.change_kinds(kinds)
        self.line = Line(self.config, self.board, self.member, lambda: self.doorbell.works, self._known, self.permits)
        self.children = Children(self.app.path, self.config.startup)
        self.starts = Starts(self.config.overdue)
        self.runner = Runner(functions, self.children, self._may_start)
        self.settler = Settler(self.config.flush, lambda queue: self.board.lanes[queue].settings)
        self.upkeep = Upkeep(self.config, Watch(self.config, self.permits.loop.client).look)
        log.info("worker %s (%s) serves %s", self.member.id, self.member.name, ", ".join(self.member.queues))

    async def _finish(self, slots: list[asyncio.Task[None]], grace: float) -> None:
        """Hand back what has not started, give what runs its grace, stop the rest, write every outcome."""
        self.permits.hand_back()
        await until(lambda: not self.runner.running, grace)
        for run in list(self.runner.running.values()):
            run.end("shutdown")
        await until(lambda: not self.runner.running, 1.0)
        self._closing = True
        for slot in slots:
            slot.cancel()
        await asyncio.gather(*slots, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.settler.drained(), 10)

    async def _close(self, parts: list[asyncio.Task[None]]) -> None:
        self._closing = True
        self._over.set()
        await end(parts)
        await self.permits.close()
        await self.children.close()
        self.runner.close()
        with contextlib.suppress(psycopg.Error, OSError, TimeoutError):
            async with asyncio.timeout(GOODBYE), await aconnect(self.config.dsn, "stop") as conn:
                await self.line.tell(conn)
                await self.member.leave(conn)
        log.info("worker %s stopped", self.member.id)

    async def _keep_starts(self) -> None:
        await self.starts.needed.wait()  # most workers never need that connection
        await keep(self.config.dsn, "begin", self.starts.write, self._over)

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
            if began > self.member.sure_until:
                self.board.done(lane)
                self._back(lane, task, HandBack())
                continue
            outcome: Outcome = HandBack()
            try:
                starts = self.permits.starts if lane.gate.rated or task.limit_keys else None
                outcome = await self.runner.run(task, slot, starts)
            except asyncio.CancelledError:
                if self._closing:
                    raise
                slot.uncancel()
                outcome = Failed("the handler cancelled the asyncio task it ran in")
            finally:
                now = monotonic()
                self.board.done(lane, now - began)
                lane.timings.left -= 1
                if lane.timings.left <= 0:
                    lane.timings.note(self.line.clock.waited(task.scheduled_at, began), now - began)
                self.permits.ended(lane, task, now)
                self._record(lane, task, outcome)

    async def _may_start(self, run: Run) -> bool:
        """Say of a run that it begins, where somebody must know; then its permits must still be good."""
        task = run.task
        suspect = task.attempts >= task.max_attempts and run.suspect
        unheard = suspect or self.starts.waited(monotonic() - run.started_at)
        if (unheard and not await self.starts.begin(task, suspect=suspect)) or self.stopping.is_set():
            return False
        if run.kind != "process" and monotonic() - run.started_at < PROMPT:
            return True
        return await self.permits.confirm(self.board.lanes[task.queue], task)

    def _back(self, lane: Lane, task: Task, outcome: Outcome) -> None:
        """Let a task go back that has not started."""
        self.permits.ended(lane, task, monotonic(), started=False)
        self._record(lane, task, outcome)

    def _record(self, lane: Lane, task: Task, outcome: Outcome) -> None:
        if isinstance(outcome, Recorded):
            return
        if isinstance(outcome, RateLimited):
            self.permits.slow_down(lane, task, outcome)
        settled = judge(task, lane.settings, outcome)
        self.settler.add(task, settled)
        if settled.error is not None:
            about = {"task_id": task.id, "task": task.task, "queue": task.queue, "attempt": task.attempts}
            log.warning("task %s (%s) %s: %s", task.id, task.task, settled.status, settled.error, extra=about)
        if settled.due is not None or settled.after is not None:
            self.line.expect(lane, settled, self.config.flush)

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
                    self.permits.empty(lane)

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
        """Take a note of the doorbell; any login of the database can write one, so it may say anything."""
        if kind == "ring":
            self.line.stir(rest)
        elif kind == "settings":
            self.line.reload()
        elif kind == "closed":
            seconds, _, queue = rest.partition(":")
            self.line.close(queue, read_seconds(seconds))
        elif kind == "cancel":
            named, _, proof = rest.partition(":")
            if task_id := read_id(named):
                self._cancel(task_id, proof)

    def _known(self) -> list[int]:
        """Return the ids of all tasks this process holds."""
        buffered = [task.id for lane in self.board.lanes.values() for task in lane.buffer]
        return [*self.runner.running, *buffered, *self.permits.waiting(), *self.settler.held()]

    def _runs(self) -> list[Task]:
        return [run.task for run in self.runner.running.values()]

    def _cancel(self, task_id: int, proof: str | None = None) -> None:
        """Let go of a task; end its run where the proof is right (None: the database itself says so)."""
        run = self.runner.running.get(task_id)
        if run is not None and proof in {None, run.task.cancel_proof}:
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
            if pulse.alive:
                self.member.heard_of(pulse.asked_at)  # at once: a handler may block the loop
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
        dead = not pulse.alive and pulse.worker_id == self.member.id  # the answer may be about who we were
        if dead and not self.stopping.is_set() and self.member.was_declared_dead():
            self.line.stir()
        for task_id in pulse.cancelled:
            self._cancel(task_id)
        for task in pulse.lost:
            run = self.runner.running.get(task.id)
            if run is not None and run.task is task and not run.context.completed:
                run.end("lost")
