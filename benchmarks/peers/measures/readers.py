"""What four readers of a peer's own table do to it, at full speed.

Timed: starts per second for 20 s without readers, then for 20 s beside four, and the ratio of the two. Each reader is a
connection that begins a REPEATABLE READ transaction, counts the table's rows five times, a second apart, commits and
begins again; they begin a second apart, so their snapshots overlap and one is always some seconds old.

On: a fresh database with the peer's own schema, one worker process set up as for the drain, and one producer that keeps
about 2,000 waiting (see the held horizon). Readers read the table that grows most: who keeps history has more to read.

Durability: the server's as in the manifest. celery is left out: there is no table to read.

Checked: every task was executed once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import psycopg
from psycopg import sql

from benchmarks.harness import Bench
from benchmarks.peers import turns, verdict
from benchmarks.peers.flow import flow, plot
from benchmarks.peers.peer import Peer
from benchmarks.results import Outcome

HEADLINE = ("beside_readers_per_s", "alone_per_s", "beside_by_alone")
NOTE = "celery is not here: it has no table."
LOWER_IS_BETTER: tuple[str, ...] = ()
remarks = partial(verdict.compare, headline=HEADLINE, lower_is_better=LOWER_IS_BETTER, note=NOTE)
READERS = 4
SCANS = 5
GAP = 1.0  # seconds between two scans


def run(bench: Bench, peers: Sequence[Peer]) -> Outcome:
    """Measure all that have a table in Postgres."""
    outcome = Outcome("peers-readers")
    inside = [peer for peer in peers if peer.table]
    turns.take(outcome, bench, inside, "", lambda peer, repetition: measure(outcome, bench, peer, repetition))
    return outcome


def measure(outcome: Outcome, bench: Bench, peer: Peer, repetition: int) -> dict[str, float]:
    """Run alone, then beside readers; returns the metrics."""
    seconds = bench.length(20.0, 2.0)
    with flow(outcome, bench, peer, peer.name) as running:
        began = time.monotonic()
        running.feed(began + seconds)
        with readers(running.at.order["url"], peer.table) as scans:
            since = time.monotonic()
            running.feed(since + seconds)
            done = len(scans)
    plot(outcome, peer.name, repetition, running.notes, began, since + seconds - began)
    alone = running.notes.between(began, began + seconds)
    beside = running.notes.between(since, since + seconds)
    return {
        "beside_readers_per_s": beside,
        "alone_per_s": alone,
        "beside_by_alone": beside / alone if alone else 0.0,
        "scans": done,
        "producer_bound": float(running.producer_bound),
    }


@contextmanager
def readers(dsn: str, table: str) -> Iterator[list[int]]:
    """Let readers read until the block ends; yields the rows that each scan found so far."""
    over, scans = threading.Event(), list[int]()
    threads = [threading.Thread(target=read, args=(dsn, table, k, over, scans)) for k in range(READERS)]
    for thread in threads:
        thread.start()
    try:
        yield scans
    finally:
        over.set()
        for thread in threads:
            thread.join()


def read(dsn: str, table: str, number: int, over: threading.Event, scans: list[int]) -> None:
    """Scan in transactions of some seconds each."""
    count = sql.SQL("select count(*) from {}").format(sql.Identifier(*table.split(".")))
    over.wait(number * GAP)
    with psycopg.connect(dsn) as conn:
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        while not over.is_set():
            with conn.transaction():
                for _ in range(SCANS):
                    ((rows,),) = conn.execute(count).fetchall()
                    scans.append(rows)
                    if over.wait(GAP):
                        break
