"""Servers of our own to maltreat: a durable Postgres that may be restarted, and what can stand in front of it."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import redis
from psycopg.conninfo import make_conninfo

from pgq import embedded, migrate

SETTINGS = {"max_connections": 200, "shared_buffers": "128MB"}  # and durable: nothing is switched off


@contextmanager
def durable_postgres() -> Iterator[embedded.Postgres]:
    """Run a server that keeps its promises, and remove every trace at the end."""
    home = Path(tempfile.mkdtemp(prefix="pgq-faults-", dir="/tmp"))
    home.chmod(0o755)
    try:
        yield embedded.Postgres(home, SETTINGS).start()
    finally:
        embedded.down(home)
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def fresh_database(server: str) -> Iterator[str]:
    """Make a database with the schema and return its DSN."""
    name = f"faults_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"create database {name}")
    dsn = make_conninfo(server, dbname=name)
    with psycopg.connect(dsn, autocommit=True) as conn:
        migrate.migrate(conn)
    yield dsn
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"drop database {name} with (force)")


class Limiter:
    """A Redis-compatible server that may be killed, emptied and stopped; it keeps all it acknowledged."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.server = embedded.Valkey(home)

    @property
    def url(self) -> str:
        """The way to it."""
        return self.server.url

    @property
    def client(self) -> redis.Redis:
        """A connection of the test's own."""
        return redis.Redis.from_url(self.url, decode_responses=True, socket_timeout=5)

    def crash(self) -> None:
        """Kill it with SIGKILL."""
        self.server.kill()

    def start(self, *, empty: bool = False) -> None:
        """Start it with what it kept, or with nothing."""
        if empty:
            shutil.rmtree(self.home / "valkey" / "data")
        self.server.start()

    def signal(self, number: signal.Signals) -> None:
        """Send its process a signal."""
        os.kill(int((self.home / "valkey" / "data" / "pid").read_text()), number)

    def flush(self) -> None:
        """Make it forget everything."""
        with self.client as client:
            client.flushall()

    def told_at(self, queue: str) -> int | None:
        """Return when it was last told what runs of a queue (nanoseconds of the monotonic clock), if it still knows."""
        with self.client as client:
            born = client.get(f"pgq:{{queue:{queue}}}:born")
        return None if born is None else time.monotonic_ns() - (time.time_ns() - int(born) * 1_000)

    def holds(self, *places: str) -> set[str]:
        """Return the permits that it believes to run something under some limits: `queue:name`, or a key."""
        names = [f"pgq:{{{place}}}" if place.startswith("queue:") else f"pgq:{{keys}}:{place}" for place in places]
        with self.client as client:
            return {permit for name in names for permit in client.zrange(f"{name}:running", 0, -1)}

    def longest_hold(self, place: str, mark: str) -> float:
        """Return the seconds, by its own clock, for which permits with a mark are still counted; below 0: none is."""
        with self.client as client:
            lapses = [
                at
                for permit, at in client.zrange(f"pgq:{{{place}}}:running", 0, -1, withscores=True)
                if permit.startswith(mark)
            ]
            seconds, micros = client.time()
        return max(lapses, default=0.0) / 1e6 - seconds - micros / 1e6


@contextmanager
def own_limiter() -> Iterator[Limiter]:
    """Run a server, and remove every trace at the end."""
    home = Path(tempfile.mkdtemp(prefix="pgq-faults-", dir="/tmp"))
    home.chmod(0o755)
    limiter = Limiter(home)
    try:
        limiter.start()
        yield limiter
    finally:
        limiter.crash()
        shutil.rmtree(home, ignore_errors=True)
