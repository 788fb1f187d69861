"""What a REPEATABLE READ transaction that stays open does to each peer, at full speed.

Timed: starts per second over 120 s, `first_15s_per_s` and `last_15s_per_s` of them, and every 5 s for the picture. The
transaction has its snapshot before the first second and is open to the last, so nothing that is done meanwhile can be
vacuumed.

On: a fresh database with the peer's own schema, one worker process set up as for the drain, and one producer that adds
1,000 tasks through the peer's bulk call whenever fewer than 2,000 wait. `producer_bound` is 1 where it could not: what
was measured is then the producer, and the worker could do more.

Durability: the server's as in the manifest. celery is left out: it does not work in Postgres.

Checked: every task was executed once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import psycopg

from benchmarks.harness import Bench
from benchmarks.peers import turns, verdict
from benchmarks.peers.flow import STEP, flow, mean, plot
from benchmarks.peers.peer import Peer
from benchmarks.results import Outcome

HEADLINE = ("last_15s_per_s", "first_15s_per_s", "last_by_first")
NOTE = "celery is not here: it does not work in Postgres."
LOWER_IS_BETTER: tuple[str, ...] = ()
remarks = partial(verdict.compare, headline=HEADLINE, lower_is_better=LOWER_IS_BETTER, note=NOTE)


def run(bench: Bench, peers: Sequence[Peer]) -> Outcome:
    """Measure all that work in Postgres."""
    outcome = Outcome("peers-pinned")
    inside = [peer for peer in peers if not peer.redis]
    turns.take(outcome, bench, inside, "", lambda peer, repetition: measure(outcome, bench, peer, repetition))
    return outcome


def measure(outcome: Outcome, bench: Bench, peer: Peer, repetition: int) -> dict[str, float]:
    """Hold the horizon while a worker and a producer run; returns the metrics."""
    seconds = bench.length(120.0, 3.0)
    with flow(outcome, bench, peer, peer.name) as running, psycopg.connect(running.at.order["url"]) as holder:
        holder.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        holder.execute("select count(*) from pg_class")  # the snapshot is taken here
        began = time.monotonic()
        running.feed(began + seconds)
        holder.rollback()
    rates = plot(outcome, peer.name, repetition, running.notes, began, seconds)
    edge = max(round(15.0 / STEP), 1) if seconds >= 45 else 1
    first, last = mean(rates[:edge]), mean(rates[-edge:])
    return {
        "last_15s_per_s": last,
        "first_15s_per_s": first,
        "last_by_first": last / first if first else 0.0,
        "tasks_done": sum(rates) * seconds / len(rates),
        "producer_bound": float(running.producer_bound),
    }
