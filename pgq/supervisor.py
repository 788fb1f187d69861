"""Several worker processes under one parent: a child that dies is replaced, and its tasks come back at once.

The parent runs no task and holds no connection while all is well, but for the one of its scout where it grows and
shrinks by need. The kernel tells it of a child's death, so it need not wait for a heartbeat to be missed: it takes the
dead worker out of the table, gives its tasks back and lets go of what it held at the limiter.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import subprocess
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic

import psycopg

from pgq.config import Config
from pgq.connect import connect
from pgq.cursor import BEGINNING
from pgq.db import Call, run
from pgq.orphans import Estate, estate, let_go
from pgq.redact import first_line
from pgq.scale import Scale, Span, decide
from pgq.scout import Scout
from pgq.steps import ClockSteps
from pgq.upkeep import recover_call

log = logging.getLogger("pgq")

PAUSE = (0.1, 5.0)  # seconds before a child that died young is replaced: first, longest
YOUNG = 10.0  # seconds
LOOK = 0.5  # seconds between two looks at what is needed
DEAF = 30.0  # seconds beyond its grace in which a child that was dismissed must have ended


@dataclass(slots=True)
class Child:
    """One worker process and the name it registers under; `leave_by` is set once it was told to leave."""

    process: subprocess.Popen[bytes]
    name: str
    started_at: float
    slot: int  # the least number that no sibling has: its port for metrics depends on it
    told: int = 0  # how many of the supervisor's signals it has had
    leave_by: float | None = None

    def leave(self, within: float) -> None:
        """Stop gracefully; the supervisor's own first signal then says nothing new."""
        self.process.send_signal(signal.SIGTERM)
        self.told = 1
        self.leave_by = monotonic() + within


class Supervisor:
    """Keeps as many copies of a command running as its span says, until told to stop; by need where it is a range.

    The command gets `PGQ_WORKER_NAME` and `PGQ_WORKER_UNDER` in its environment and must register under them, and
    `PGQ_WORKER_SLOT`, its number among those that run, from 0.
    """

    def __init__(self, command: Sequence[str], span: Span, config: Config, queues: Sequence[str]) -> None:
        self._command = list(command)
        self._span = span
        self._scale = Scale(span.least)
        self._config = config
        self._queues = list(queues)
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._scout = Scout(config.dsn, self._name, queues, config.concurrency) if span.moves else None
        self._children: list[Child] = []
        self._signals: list[int] = []
        self._pause = PAUSE[0]
        self._spawn_at = 0.0
        self._crashed_at = -inf
        # Signals are only noted, and wake the loop by this socket; all work is done there.
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)

    def run(self) -> int:
        """Supervise until SIGTERM or SIGINT; a second signal kills the children. Returns the exit code."""
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _frame: self._signals.append(number))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        if self._scout is not None:
            self._scout.start()
        while not self._signals or self._children:
            for child in [child for child in self._children if child.process.poll() is not None]:
                self._children.remove(child)
                self._bury(child)
            if not self._signals:
                self._resize()
            self._pass_on()
            self._wait(self._nap())
        if self._scout is not None:
            self._scout.stop()
        return 128 + self._signals[-1] if len(self._signals) > 1 else 0

    def _resize(self) -> None:
        """Start or dismiss processes until there are as many as there should be; those that leave do not count."""
        if self._scout is not None:
            before = self._scale.target
            self._scale = decide(self._span, self._scale, self._scout.processes, monotonic(), self._crashed_at)
            if self._scale.target != before:
                log.info("scale: %s processes of %s, after %s", self._scale.target, self._span, before)
        staying = [child for child in self._children if child.leave_by is None]
        for child in staying[self._scale.target :]:  # the youngest have the least to finish
            child.leave(self._config.grace + DEAF)
        if monotonic() >= self._spawn_at:
            for _ in range(self._scale.target - len(staying)):
                self._children.append(self._spawn())

    def _spawn(self) -> Child:
        name = f"{self._name}:{uuid.uuid4().hex[:8]}"
        taken = {child.slot for child in self._children}
        slot = next(number for number in range(len(taken) + 1) if number not in taken)
        says = {
            "PGQ_WORKER_NAME": name,
            "PGQ_WORKER_UNDER": f"{self._name} {self._span}",
            "PGQ_WORKER_SLOT": str(slot),
        }
        process = subprocess.Popen(self._command, env={**os.environ, **says}, start_new_session=True)
        log.info("worker process %s started as %s", process.pid, name)
        return Child(process, name, monotonic(), slot)

    def _bury(self, child: Child) -> None:
        code = child.process.returncode
        if code == 0 and (self._signals or child.leave_by is not None):
            return
        log.warning("worker process %s (%s) ended with %s; giving its tasks back", child.process.pid, child.name, code)
        try:
            with connect(self._config.dsn, "supervisor") as conn:
                left = give_back(conn, child.name, self._queues, self._config)
            let_go(self._config, left)
        except psycopg.Error as error:
            log.warning("its tasks come back when its lease ends: %s", first_line(error))
        if child.leave_by is not None:
            return
        if monotonic() - child.started_at < YOUNG:
            self._crashed_at = monotonic()
            self._spawn_at = max(self._spawn_at, self._crashed_at + self._pause)
            self._pause = min(self._pause * 2, PAUSE[1])
        else:
            self._pause = PAUSE[0]

    def _pass_on(self) -> None:
        """Send every child the signals it has not had, any but the first as SIGKILL; end those deaf to their first."""
        for child in self._children:
            for place in range(child.told, len(self._signals)):
                child.process.send_signal(signal.SIGKILL if place else self._signals[place])
            child.told = max(child.told, len(self._signals))
            if child.leave_by is not None and monotonic() > child.leave_by:
                child.process.kill()

    def _nap(self) -> float | None:
        """Return for how long nothing needs to be done, unless a signal comes; None: for ever."""
        if self._signals and not self._children:
            return 0.0  # it is over
        naps = [] if self._scout is None else [LOOK]
        if not self._signals and len(self._children) < self._scale.target:
            naps.append(max(self._spawn_at - monotonic(), 0.0))
        return min(naps, default=None)

    def _wait(self, seconds: float | None) -> None:
        if select.select([self._woken], [], [], seconds)[0]:
            self._woken.recv(4096)


def give_back(conn: psycopg.Connection, name: str, queues: Sequence[str], config: Config) -> Estate:
    """Take the worker registered as `name` out and give its tasks back; returns what it left at the limiter."""
    ids = {worker for (worker,) in run(conn, Call("unregister", {"id": None, "name": name}))}
    left = estate(conn, name, ids, queues, config.limit_prefix)
    for queue in queues:
        run(conn, recover_call(queue, BEGINNING, config.overdue, ClockSteps()))
    return left
