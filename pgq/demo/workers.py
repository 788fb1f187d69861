"""Two worker processes under a supervisor, as `pgq worker pgq.demo.app:app --processes 2` runs them.

The supervisor also ends when the demo does, however that ends: it notices that its standard input was closed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from pgq.config import Config
from pgq.demo.app import app
from pgq.scale import Span
from pgq.supervisor import Supervisor
from pgq.worker import Worker

PROCESSES = 2
COMMAND = [sys.executable, "-m", "pgq.demo.workers"]
LAST_WORD = 10.0  # seconds beyond the grace time, after which the supervisor is killed


@dataclass(frozen=True, slots=True)
class Victim:
    """A worker process and how many tasks it held when it was killed."""

    pid: int
    held: int


@contextmanager
def running(environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the supervisor in a session of its own, so that Ctrl-C is for the demo to pass on; stop it gracefully."""
    with log.open("wb") as output:
        supervisor = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True,
            env={**os.environ, **environment},
        )  # fmt: skip
    try:
        yield supervisor
    finally:
        _stop(supervisor)
        if supervisor.stdin is not None:
            supervisor.stdin.close()


def _stop(supervisor: subprocess.Popen[bytes]) -> None:
    try:
        supervisor.terminate()
        supervisor.wait(Config.load().grace + LAST_WORD)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        supervisor.terminate()  # a second signal makes it kill its children
        supervisor.wait(LAST_WORD)


def pids(conn: psycopg.Connection, supervisor: int) -> set[int]:
    """Return the processes of the workers that this supervisor started and that have registered."""
    return {victim.pid for victim in _workers(conn, supervisor)}


def kill_busiest(conn: psycopg.Connection, supervisor: int) -> Victim:
    """Kill with SIGKILL the worker that holds most tasks. Raises ValueError while none has registered."""
    victim = max(_workers(conn, supervisor), key=lambda worker: worker.held)
    os.kill(victim.pid, signal.SIGKILL)
    return victim


def _workers(conn: psycopg.Connection, supervisor: int) -> list[Victim]:
    rows = conn.execute(
        "select w.pid, count(t.id) from pgq.workers as w"
        " left join pgq.tasks as t on t.worker_id = w.id and t.status = 'processing'"
        " where starts_with(w.name, %s) group by w.id",
        (f"{socket.gethostname()}:{supervisor}:",),
    ).fetchall()
    return [Victim(pid, held) for pid, held in rows]


def supervise() -> int:
    """Be the supervisor."""
    threading.Thread(target=_end_with_the_demo, daemon=True).start()
    return Supervisor([*COMMAND, "one"], Span(PROCESSES, PROCESSES), Config.load(), list(app.queues)).run()


def _end_with_the_demo() -> None:
    os.read(0, 1)  # nothing is ever written: it returns when the pipe breaks
    os.kill(os.getpid(), signal.SIGTERM)


async def work() -> None:
    """Be one worker until SIGTERM."""
    worker = Worker(app, Config.load(), name=os.environ["PGQ_WORKER_NAME"])
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()


if __name__ == "__main__":
    sys.exit(asyncio.run(work()) if sys.argv[1:] == ["one"] else supervise())
