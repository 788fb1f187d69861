"""Several worker processes under one parent: a child that dies is replaced, and its tasks come back at once.

The parent runs no task and holds no connection while all is well. The kernel tells it of a child's death, so it need
not wait for a heartbeat to be missed: it takes the dead worker out of the table, gives its tasks back and lets go of
what it held at the limiter.
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
from time import monotonic

import psycopg

from pgq.config import Config
from pgq.connect import connect
from pgq.cursor import BEGINNING
from pgq.db import Call, run
from pgq.orphans import Estate, estate, let_go
from pgq.upkeep import recover_call

log = logging.getLogger("pgq")

PAUSE = (0.1, 5.0)  # seconds before a child that died young is replaced: first, longest
YOUNG = 10.0  # seconds


@dataclass(slots=True)
class Child:
    """One worker process and the name it registers under."""

    process: subprocess.Popen[bytes]
    name: str
    started_at: float
    told: int = 0  # how many of the supervisor's signals it has had


class Supervisor:
    """Keeps `processes` copies of a command running until told to stop.

    The command gets `PGQ_WORKER_NAME` in its environment and must register under it.
    """

    def __init__(self, command: Sequence[str], processes: int, config: Config, queues: Sequence[str]) -> None:
        self._command = list(command)
        self._processes = processes
        self._config = config
        self._queues = list(queues)
        self._children: list[Child] = []
        self._signals: list[int] = []
        self._pause = PAUSE[0]
        # Signals are only noted, and wake the loop by this socket; all work is done there.
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)

    def run(self) -> int:
        """Supervise until SIGTERM or SIGINT; a second signal kills the children. Returns the exit code."""
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _frame: self._signals.append(number))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while not self._signals or self._children:
            for child in [child for child in self._children if child.process.poll() is not None]:
                self._children.remove(child)
                self._bury(child)
            while not self._signals and len(self._children) < self._processes:
                self._children.append(self._spawn())
            self._pass_on()
            self._wait(1.0)
        return 128 + self._signals[-1] if len(self._signals) > 1 else 0

    def _spawn(self) -> Child:
        name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        process = subprocess.Popen(self._command, env={**os.environ, "PGQ_WORKER_NAME": name}, start_new_session=True)
        log.info("worker process %s started as %s", process.pid, name)
        return Child(process, name, monotonic())

    def _bury(self, child: Child) -> None:
        code = child.process.returncode
        if code == 0 and self._signals:
            return
        log.warning("worker process %s (%s) ended with %s; giving its tasks back", child.process.pid, child.name, code)
        try:
            with connect(self._config.dsn, "supervisor") as conn:
                left = give_back(conn, child.name, self._queues, self._config)
            let_go(self._config, left)
        except psycopg.Error as error:
            log.warning("its tasks come back when its lease ends: %s", error)
        if not self._signals and monotonic() - child.started_at < YOUNG:
            self._wait(self._pause)
            self._pause = min(self._pause * 2, PAUSE[1])
        else:
            self._pause = PAUSE[0]

    def _pass_on(self) -> None:
        """Send every child the signals it has not had; any but the first is SIGKILL."""
        for child in self._children:
            for place in range(child.told, len(self._signals)):
                child.process.send_signal(signal.SIGKILL if place else self._signals[place])
            child.told = len(self._signals)

    def _wait(self, seconds: float) -> None:
        if select.select([self._woken], [], [], seconds)[0]:
            self._woken.recv(4096)


def give_back(conn: psycopg.Connection, name: str, queues: Sequence[str], config: Config) -> Estate:
    """Take the worker registered as `name` out and give its tasks back; returns what it left at the limiter."""
    ids = {worker for (worker,) in run(conn, Call("unregister", {"id": None, "name": name}))}
    left = estate(conn, name, ids, queues, config.limit_prefix)
    for queue in queues:
        run(conn, recover_call(queue, BEGINNING, config.overdue))
    return left
