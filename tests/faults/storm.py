"""Random faults, one after the other, against workers under limits; and what keeps those workers busy meanwhile."""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections import Counter
from time import monotonic, monotonic_ns
from typing import Any, Self

import psycopg
from fleet import Fleet, eventually, registered
from ledger import Ledger, Tail
from servers import Limiter
from tempo import SECOND, Span

from pgq.grants import mark_of

PAUSE = (0.2, 0.8)  # seconds between two faults
NAP = (0.2, 1.0)  # seconds; less than two thirds of the lease
SHARES = {"kill": 5, "nap": 3, "outsleep": 3, "flush": 3, "crash": 2, "crash_empty": 2, "cut": 2}


class Feeder(threading.Thread):
    """Keeps about `deep` tasks of each kind waiting: pairs of a handler and its arguments."""

    def __init__(self, dsn: str, ledger: Ledger, kinds: list[tuple[Any, dict[str, Any]]], deep: int = 25) -> None:
        super().__init__(daemon=True)
        self.keys: dict[int, set[str]] = {number: set() for number in range(len(kinds))}  # by number of the kind
        self._dsn = dsn
        self._ledger = ledger
        self._tail = Tail(ledger, "start")
        self._kinds = kinds
        self._deep = deep
        self._end = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()

    def run(self) -> None:
        while not self._end.is_set():
            with contextlib.suppress(psycopg.Error), psycopg.connect(self._dsn, autocommit=True) as conn:
                while not self._end.is_set():
                    for number, (task, arguments) in enumerate(self._kinds):
                        self._fill(conn, number, task, arguments)
                    self._end.wait(0.2)

    def _fill(self, conn: psycopg.Connection, number: int, task: Any, arguments: dict[str, Any]) -> None:
        missing = self._deep - len(self.keys[number] - self._tail.look())
        if missing > 0:
            self.keys[number].update(enqueue_many(conn, self._ledger, task, missing, **arguments))


def enqueue_many(conn: psycopg.Connection, ledger: Ledger, task: Any, count: int, **arguments: Any) -> list[str]:
    """Enqueue some tasks alike; returns their keys."""
    keys = [uuid.uuid4().hex for _ in range(count)]
    for key in keys:
        ledger.write("intent", key)
    with conn.transaction():
        task.enqueue_many(conn, [{"key": key, **arguments} for key in keys])
    for key in keys:
        ledger.write("ack", key)
    return keys


class Storm:
    """Faults by name; each returns when it is over. `losses` are the times at which the limiter forgot."""

    def __init__(self, fleet: Fleet, limiter: Limiter) -> None:
        self.fleet = fleet
        self.limiter = limiter
        self.lease = float(str(fleet.settings["lease"]))
        self.losses: list[Span] = []
        self.kills: list[int] = []
        self.held: list[float] = []  # for how many seconds after each kill its slots were not free

    def blow(self, faults: int) -> Counter[str]:
        """Let so many faults happen, in random order; returns how many of each."""
        names = [name for name, share in SHARES.items() for _ in range(share)]
        chosen = [names[number % len(names)] for number in range(faults)]
        random.shuffle(chosen)
        for name in chosen:
            getattr(self, name)()
            time.sleep(random.uniform(*PAUSE))
        return Counter(chosen)

    def kill(self) -> None:
        """Kill a worker, start another, and see how long the limiter counts what the dead one held.

        Its slots are free from then on; when they are used again is a matter of how busy the machine is too.
        """
        self.kills.append(monotonic_ns())
        victim = random.choice(self.fleet.processes)
        mark = mark_of(f"{socket.gethostname()}:{victim.pid}")
        self.fleet.kill(victim)
        self.fleet.start()
        held, ends = self.kills[-1], monotonic_ns() + round((self.lease + 1) * SECOND)
        while (now := monotonic_ns()) < ends:  # a request may be under way when its worker is killed
            if self.limiter.longest_hold("queue:tight", mark) > 0:
                held = now
            time.sleep(0.02)  # how exactly it is known
        self.held.append((held - self.kills[-1]) / SECOND)

    def nap(self) -> None:
        """Stop a worker for a while that its lease outlasts."""
        self._stop(random.uniform(*NAP))

    def outsleep(self) -> None:
        """Stop a worker for longer than its lease."""
        self._stop(self.lease * random.uniform(1.1, 1.5))

    def flush(self) -> None:
        """Let the limiter forget everything."""
        began = monotonic_ns()
        self.limiter.flush()
        self._forgot(began)

    def crash(self) -> None:
        """Kill the limiter and start it with what it kept."""
        self.limiter.crash()
        time.sleep(random.uniform(0, 0.5))
        self.limiter.start()

    def crash_empty(self) -> None:
        """Kill the limiter and start it with nothing."""
        began = monotonic_ns()
        self.limiter.crash()
        time.sleep(random.uniform(0, 0.5))
        self.limiter.start(empty=True)
        self._forgot(began)

    def cut(self) -> None:
        """Cut some of the workers' connections to Postgres."""
        with psycopg.connect(self.fleet.dsn, autocommit=True) as conn:
            conn.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
                " and application_name like 'pgq %' and random() < 0.5"
            )

    def _stop(self, seconds: float) -> None:
        process = random.choice(self.fleet.processes)
        over = stop(self.fleet, process)
        time.sleep(seconds)
        wake(self.fleet, process, over)

    def _forgot(self, began: int) -> None:
        """Note a loss of memory: until the limiter is told what runs, tasks may start under permits of before."""
        eventually(lambda: self.limiter.told_at("paced"), 20, "an end of the loss of memory")
        self.losses.append((began, self.limiter.told_at("paced") or monotonic_ns()))


def stop(fleet: Fleet, process: subprocess.Popen[bytes]) -> int:
    """Stop a worker; returns when its lease will be over, or a hold that it was just about to renew."""
    process.send_signal(signal.SIGSTOP)
    with psycopg.connect(fleet.dsn) as conn:
        asked = monotonic_ns()
        cursor = conn.execute(
            "select extract(epoch from heartbeat_at + lease * interval '1 second' - clock_timestamp())::float8"
            " from pgq.workers where pid = %s",
            (process.pid,),
        )
        left = [row[0] for row in cursor.fetchall()]
    longest = float(str(fleet.settings["lease"])) * 2 / 3 - 0.05
    return asked + round(min(longest, max(left, default=0.0)) * SECOND)


def wake(fleet: Fleet, process: subprocess.Popen[bytes], over: int) -> None:
    """Let a stopped worker go on, and note it where it outslept its lease."""
    if monotonic_ns() > over:
        fleet.ledger.outslept(process.pid, over)
    process.send_signal(signal.SIGCONT)


def staffed(crew: Fleet, count: int) -> None:
    """Start workers and wait until all are there."""
    for _ in range(count):
        crew.start()
    eventually(lambda: registered(crew.dsn) == count, 20, "all workers")


def free_again(limiter: Limiter, seconds: float) -> None:
    """Wait until the limiter believes that nothing runs, and see that it stays so: nobody renews what nobody runs.

    Idle workers take permits when they look for work, and give them back at once.
    """
    seen: dict[str, float] = {}
    ends = monotonic() + 2 * seconds
    while (now := monotonic()) < ends:
        held = limiter.holds("queue:tight", "queue:paced", "customer:a", "customer:b")
        seen = {permit: seen.get(permit, now) for permit in held}
        assert all(now - since < 0.5 for since in seen.values()) or now < ends - seconds, seen
        time.sleep(0.05)  # often enough: a renewal lasts for a lease
