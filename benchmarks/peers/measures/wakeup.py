"""How soon an idle worker of each peer starts what is enqueued: single tasks with random gaps of 20 to 80 ms.

Timed: from just before the call of the peer's own enqueue until the first line of the handler, the commit included.
Producer and worker are two processes and read the same clock.

On: a fresh database with the peer's own schema, one worker process set up as for the drain, idle when each task comes.

Durability: the server's as in the manifest; celery's tasks are in Redis.

Checked: every task was executed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from benchmarks.harness import Bench
from benchmarks.peers import turns, verdict
from benchmarks.peers.peer import Peer
from benchmarks.peers.stage import rest, stage, wait_for
from benchmarks.results import Outcome
from benchmarks.scenarios.wakeup import percentiles

HEADLINE = ("p50_ms", "p95_ms", "p99_ms")
LOWER_IS_BETTER = HEADLINE
remarks = partial(verdict.compare, headline=HEADLINE, lower_is_better=LOWER_IS_BETTER)
WARM_UP = 20


def run(bench: Bench, peers: Sequence[Peer]) -> Outcome:
    """Measure one idle worker."""
    outcome = Outcome("peers-wakeup")
    turns.take(outcome, bench, peers, "", lambda peer, _: measure(outcome, bench, peer))
    return outcome


def measure(outcome: Outcome, bench: Bench, peer: Peer) -> dict[str, float]:
    """Enqueue one task after the other to an idle worker; returns the metrics."""
    tasks = bench.size(400, 30)
    with stage(bench, peer) as at:
        producer, crew = at.producer(), at.crew(1)
        crew.go()
        rest()
        producer.with_gaps(WARM_UP)
        wait_for(crew, WARM_UP)
        called = producer.with_gaps(tasks)
        wait_for(crew, WARM_UP + tasks)
        notes = crew.dismiss()
    notes.check(outcome, peer.name, WARM_UP + tasks)
    started = dict(zip(notes.executed, notes.started_at, strict=True))
    waits = [(started[i] - at) / 1e6 for i, at in enumerate(called, WARM_UP) if i in started]
    return percentiles(waits)
