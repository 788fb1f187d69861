"""A peer at work: a fresh database with its schema, its workers, one producer, and the notes of its handlers."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import server
from benchmarks.children import Child, until
from benchmarks.harness import Bench
from benchmarks.measure import family
from benchmarks.peers import url
from benchmarks.peers.homes import Line
from benchmarks.peers.notes import Notes
from benchmarks.peers.peer import Peer
from pgq.limiter import connect_redis

PATIENCE = 90.0  # seconds for a program to get ready, and to end
REST = 0.5  # seconds until whatever a start brings with it is over


class Producer:
    """The program of a peer as it enqueues; its numbers go up from 0."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self.next = 0
        self.pid = child.pid

    def bulk(self, tasks: int) -> float:
        """Enqueue many, 1,000 a call; returns the seconds."""
        return float(self._ask("bulk", tasks, tasks))

    def single(self, seconds: float) -> tuple[int, float]:
        """Enqueue one by one for some seconds; returns tasks and seconds."""
        tasks, took = self._ask("single", seconds, 0)
        self.next += tasks
        return tasks, took

    def with_gaps(self, tasks: int) -> list[int]:
        """Enqueue one by one with random gaps; returns when each call began (nanoseconds)."""
        return list(self._ask("gaps", tasks, tasks))

    def _ask(self, how: str, much: float, tasks: int) -> Any:
        self._child.tell([how, self.next, much])
        self.next += tasks
        return hear(self._child, 600.0)


@dataclass(frozen=True, slots=True)
class Crew:
    """Workers of a peer, ready: they do nothing before `go`."""

    children: Sequence[Child]
    paths: Sequence[Path]

    def go(self) -> None:
        """Let them work."""
        for child in self.children:
            child.tell("go")

    def counts(self) -> list[int]:
        """Return how many handlers have begun, in each."""
        for child in self.children:
            child.tell("count")
        return [int(child.hear()) for child in self.children]

    def families(self) -> list[list[int]]:
        """Return the processes of each: its own, and those it has started."""
        return [family(child.pid) for child in self.children]

    def pids(self) -> list[int]:
        """Return all their processes."""
        return [pid for processes in self.families() for pid in processes]

    def dismiss(self) -> Notes:
        """Stop them, as their documentation says, and return what their handlers noted."""
        for child in self.children:
            child.tell("stop")
        for child in self.children:
            hear(child, PATIENCE)
        return Notes.read(self.paths)


@dataclass(frozen=True, slots=True)
class Stage:
    """One peer's database and how to start its programs, which end with the stage."""

    peer: Peer
    conn: psycopg.Connection
    order: dict[str, str]
    line: Line
    room: Path
    stack: ExitStack

    @property
    def log(self) -> Path:
        """Where its programs complain."""
        return self.room / "log"

    def start(self, role: str, **order: str) -> Child:
        """Start its program in a role."""
        with self.log.open("a") as errors:
            child = Child([*self.line.words, role], {**self.order, **order}, errors, **self.line.environment)
        self.stack.callback(child.bury)
        return child

    def producer(self) -> Producer:
        """Start a producer."""
        child = self.start("produce")
        hear(child, PATIENCE)
        return Producer(child)

    def crew(self, count: int) -> Crew:
        """Start workers that wait for `go`."""
        paths = [self.room / f"notes-{number}" for number in range(count)]
        children = [self.start("work", notes=str(path)) for path in paths]
        for child in children:
            hear(child, PATIENCE)
        return Crew(children, paths)

    def left(self, tasks: int) -> bool:
        """Return whether some of so many outcomes are not committed yet."""
        if not self.peer.left:
            return False
        ((found,),) = self.conn.execute(self.peer.left.encode(), {"tasks": tasks}).fetchall()
        return bool(found)


@contextmanager
def stage(bench: Bench, peer: Peer) -> Iterator[Stage]:
    """Yield a stage of a peer with its schema installed. Raises RuntimeError when its program fails."""
    line = peer.home.line(peer.program)
    with ExitStack() as stack:
        dsn = stack.enter_context(server.empty_database(bench.dsn))
        conn = stack.enter_context(psycopg.connect(dsn, autocommit=True))
        room = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pgq-bench-")))
        places = {"url": url.postgres(dsn), "prefix": f"{conn.info.dbname}:"}
        broker = {"broker": url.broker(bench.redis_url)} if peer.redis else {}
        if peer.redis:
            stack.callback(forget, bench.redis_url, places["prefix"])
        made = Stage(peer, conn, {**places, **broker}, line, room, stack)
        try:
            if made.start("install").wait(PATIENCE):
                raise RuntimeError("the schema could not be installed")  # noqa: TRY301 - told like any other fault
            yield made
        except (RuntimeError, OSError) as fault:  # OSError: a timeout, or a pipe whose other end is gone
            raise RuntimeError(f"{fault}; it last said: {last_line(made.log)}") from fault


def forget(redis_url: str, prefix: str) -> None:
    """Remove what a peer has left in Redis."""
    with contextlib.closing(connect_redis(redis_url)) as client:
        for key in client.scan_iter(f"{prefix}*", count=1_000):
            client.delete(key)


def last_line(log: Path) -> str:
    """Return the last line of a log that says something."""
    lines = [line for line in log.read_text().splitlines() if line.strip()] if log.exists() else []
    return lines[-1] if lines else "nothing"


def rest() -> None:
    """Wait until whatever a start brings with it is over."""
    time.sleep(REST)


def wait_for(crew: Crew, tasks: int, idle: float = 60.0) -> None:
    """Wait until so many handlers have begun. Raises TimeoutError when none begins for some time."""
    seen, moved = 0, time.monotonic()
    while (found := sum(crew.counts())) < tasks:
        now = time.monotonic()
        seen, moved = (found, now) if found > seen else (seen, moved)
        if now > moved + idle:
            raise TimeoutError(f"{found} of {tasks} tasks were started, and no more for {idle:g} s")
        time.sleep(0.005)


def settled(at: Stage, tasks: int) -> None:
    """Wait until all outcomes are committed. Raises TimeoutError."""
    until(lambda: not at.left(tasks), PATIENCE)


def hear(child: Child, seconds: float) -> Any:
    """Hear one line; a child that says nothing for so long is killed. Raises RuntimeError."""
    timer = threading.Timer(seconds, child.kill)
    timer.start()
    try:
        return child.hear()
    finally:
        timer.cancel()
