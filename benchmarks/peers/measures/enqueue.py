"""How fast one client of each peer enqueues, one by one and in bulk.

Timed: calls of the peer's own API on one connection, from the first to the return of the last, the commit included:
`single_per_s` one task a call for some seconds, `bulk_per_s` 1,000 a call through the peer's bulk call. Connecting and
a second of calls that warm up are outside.

On: a fresh database with the peer's own schema; no worker, so nobody has to be woken. celery has no bulk call: its
figure is a loop on one connection.

Durability: the server's as in the manifest; celery's tasks are in Redis, which answers before anything is on disk.

Checked: nothing more, as the calls return.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from benchmarks.harness import Bench
from benchmarks.measure import Gauge
from benchmarks.peers import turns, verdict
from benchmarks.peers.peer import Peer
from benchmarks.peers.stage import stage
from benchmarks.results import Outcome

HEADLINE = ("single_per_s", "bulk_per_s")
LOWER_IS_BETTER: tuple[str, ...] = ()
remarks = partial(verdict.compare, headline=HEADLINE, lower_is_better=LOWER_IS_BETTER)
BULK = 1_000


def run(bench: Bench, peers: Sequence[Peer]) -> Outcome:
    """Measure one client."""
    outcome = Outcome("peers-enqueue")
    turns.take(outcome, bench, peers, "", lambda peer, _: measure(bench, peer))
    return outcome


def measure(bench: Bench, peer: Peer) -> dict[str, float]:
    """Enqueue both ways; returns the metrics."""
    seconds = bench.size(3.0, 0.3)
    with stage(bench, peer) as at:
        producer = at.producer()
        producer.single(seconds / 3)
        producer.bulk(BULK)
        gauge = Gauge(at.conn, [producer.pid])
        before = gauge.read()
        tasks, took = producer.single(seconds)
        wal = (gauge.read() - before).wal / tasks
        many, spent = 0, 0.0
        while spent < seconds:
            spent += producer.bulk(BULK)
            many += BULK
    logged = {} if peer.redis else {"single_wal_bytes_per_task": wal}
    return {"single_per_s": tasks / took, "bulk_per_s": many / spent, **logged}
