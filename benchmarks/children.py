"""Processes of a benchmark: each gets its order as a JSON line on stdin and says JSON lines on stdout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psycopg

ROOT = Path(__file__).parent.parent  # of the checkout that is measured
PATIENCE = 60.0  # seconds for a process to start, and to end


class Child:
    """One process: the program and its arguments, the order, where its errors go, its environment beside ours."""

    def __init__(
        self, words: Sequence[str], order: Mapping[str, Any], errors: IO[str] | None = None, **environment: str
    ) -> None:
        self._process = subprocess.Popen(
            words,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "", **environment},  # unbuffered, print may drop the rest of a line
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        self.pid = self._process.pid
        self.tell(order)

    def tell(self, message: Any) -> None:
        """Send one line."""
        assert self._process.stdin is not None  # noqa: S101 - opened as a pipe above
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        """Wait for one line. Raises RuntimeError when the process ended instead."""
        assert self._process.stdout is not None  # noqa: S101 - opened as a pipe above
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()} and said nothing")
        return json.loads(line)

    def stop(self) -> None:
        """Ask it to end, as an operator would."""
        self._process.terminate()

    def poke(self) -> None:
        """Send SIGUSR1; what that means is the module's matter."""
        self._process.send_signal(signal.SIGUSR1)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def wait(self, seconds: float) -> int:
        """Wait for its end; returns its status. Raises subprocess.TimeoutExpired."""
        return self._process.wait(seconds)

    def bury(self) -> None:
        """End it for good if it still runs, and close its pipes."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


@contextmanager
def children(module: str, orders: Sequence[Mapping[str, Any]]) -> Iterator[list[Child]]:
    """Start one process per order; none of them outlives the block."""
    started: list[Child] = []
    try:
        for order in orders:
            started.append(Child([sys.executable, "-m", module], order))  # noqa: PERF401 - those started before a failure are to be ended
        yield started
    finally:
        for child in started:
            child.bury()


@contextmanager
def workers(
    conn: psycopg.Connection, dsn: str, count: int, tallies: Sequence[Path] = (), **config: Any
) -> Iterator[list[Child]]:
    """Start worker processes and wait until all are registered, listen, and have come to rest.

    `tallies` are the files where their handlers note what they ran, one each.
    """
    order = {"dsn": dsn, **config}
    orders = [{**order, "tally": str(path)} for path in tallies] or [order] * count
    hearing = 0 if "doorbell" in config.get("without", ()) else count
    with children("benchmarks.worker", orders) as crew:
        heard: set[int] = set()
        until(lambda: _at_rest(conn, count, hearing, heard), PATIENCE)
        time.sleep(0.5)  # whatever a start brings with it is over, and none of it is timed
        yield crew


def dismiss(crew: Sequence[Child]) -> list[Any]:
    """Stop processes and return their reports."""
    for child in crew:
        child.stop()
    return [child.hear() for child in crew]


def until(reached: Callable[[], bool], seconds: float, nap: float = 0.01) -> None:
    """Poll a condition. Raises TimeoutError."""
    ends = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > ends:
            raise TimeoutError(f"not reached within {seconds:g} s")
        time.sleep(nap)


def _at_rest(conn: psycopg.Connection, count: int, hearing: int, heard: set[int]) -> bool:
    """Whether all have registered and none tries its bell; `heard` gathers sessions that were seen to listen.

    A session that listens looks after its connection later on, so they are hardly ever all at `listen` at once.
    """
    rows = conn.execute(
        "select application_name, pid, state = 'idle' and query like 'listen%' from pg_stat_activity"
        " where datname = current_database() and application_name in ('pgq listen', 'pgq probe')"
    ).fetchall()
    heard.update(pid for name, pid, listens in rows if name == "pgq listen" and listens)
    probes = sum(name == "pgq probe" for name, _, _ in rows)
    ((registered,),) = conn.execute("select count(*) from pgq.workers").fetchall()
    return (registered, len(heard), probes) == (count, hearing, 0)
