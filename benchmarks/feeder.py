"""One producer beside a worker: `python -m benchmarks.feeder`, its order on stdin, its report on stdout.

Either it keeps `ahead` tasks waiting, as fast as that takes, or it offers `rate` tasks a second whatever the worker
does (an open loop: it never waits for the worker). It enqueues by `enqueue_many`, on one connection, each call a
transaction of its own that commits durably. What it has sent, others read in its own tally.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, monotonic_ns, sleep
from typing import Any

import psycopg

from benchmarks import app
from benchmarks.tally import Tally

MANY = 500  # rows a call adds at most where it keeps tasks waiting
LOW = 550  # so few waiting might keep a worker waiting: a full claim, and its slots
NAP = 0.001


class Feeder:
    """Sends tasks numbered from 0 until it is stopped or the time is over."""

    def __init__(self, conn: psycopg.Connection, sent: Tally, task: str) -> None:
        self.stopped = False
        self.calls = 0
        self.starved = 0.0  # seconds in which fewer than LOW waited
        self._conn = conn
        self._sent = sent
        self._task = getattr(app, task)
        self._payload: Callable[[int], dict[str, Any]] = _timed if task == "timed" else _plain

    def keep(self, ahead: int, started: Callable[[], int], ends: float) -> None:
        """Keep `ahead` tasks waiting until the moment `ends` of CLOCK_MONOTONIC."""
        self._send(ahead)
        looked = monotonic()
        while not self.stopped and (now := monotonic()) < ends:
            waiting = self._sent.count - started()
            self.starved += now - looked if waiting < LOW else 0.0
            looked = now
            if waiting < ahead:
                self._send(MANY)
            else:
                sleep(NAP)

    def offer(self, rate: float, tick: float, ends: float) -> None:
        """Send `rate` tasks a second, those of each `tick` seconds in one call, until `ends`."""
        began, first = monotonic(), self._sent.count
        while not self.stopped and (now := monotonic()) < ends:
            due = first + int((now - began) * rate) - self._sent.count
            if due > 0:
                self._send(min(due, 1_000))
            sleep(max(now + tick - monotonic(), 0))

    def _send(self, count: int) -> None:
        first = self._sent.count
        self._task.enqueue_many(self._conn, [self._payload(i) for i in range(first, first + count)])
        self._sent.add(count)
        self.calls += 1


def _plain(i: int) -> dict[str, Any]:
    return {"i": i}


def _timed(i: int) -> dict[str, Any]:
    return {"i": i, "at": monotonic_ns()}


def main() -> None:
    """Begin at the line that says when to end; report the calls, and the seconds in which too few waited."""
    order = json.loads(sys.stdin.readline())
    tallies = [Tally(Path(path)) for path in order["tallies"]]
    with psycopg.connect(order["dsn"], autocommit=True) as conn:
        feeder = Feeder(conn, Tally(Path(order["sent"])), order["task"])
        signal.signal(signal.SIGTERM, lambda *_: setattr(feeder, "stopped", True))
        print(json.dumps("ready"), flush=True)
        ends = json.loads(sys.stdin.readline())
        if "rate" in order:
            feeder.offer(order["rate"], order["tick"], ends)
        else:
            feeder.keep(order["ahead"], lambda: sum(tally.count for tally in tallies), ends)
    print(json.dumps([feeder.calls, feeder.starved]), flush=True)


if __name__ == "__main__":
    main()
