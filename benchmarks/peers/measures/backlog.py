"""How fast one worker of each peer is while 200,000 tasks wait.

Timed (`tasks_per_s`): starts per second in the 20 s from the first start on, or until the last task where the peer is
through sooner.

On: a fresh database with the peer's own schema, filled through the peer's own bulk call just before, never analyzed by
hand; one worker process set up as for the drain.

Durability: the server's as in the manifest; celery's tasks are in Redis.

Checked: no task was executed twice.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from benchmarks.harness import Bench
from benchmarks.peers import turns, verdict
from benchmarks.peers.peer import Peer
from benchmarks.peers.stage import stage
from benchmarks.results import Outcome

HEADLINE = ("tasks_per_s",)
LOWER_IS_BETTER: tuple[str, ...] = ()
remarks = partial(verdict.compare, headline=HEADLINE, lower_is_better=LOWER_IS_BETTER)
START = 30.0  # seconds for the first


def run(bench: Bench, peers: Sequence[Peer]) -> Outcome:
    """Measure one worker."""
    outcome = Outcome("peers-backlog")
    turns.take(outcome, bench, peers, "", lambda peer, _: measure(outcome, bench, peer))
    return outcome


def measure(outcome: Outcome, bench: Bench, peer: Peer) -> dict[str, float]:
    """Fill, let the worker go, and look at its first seconds; returns the metrics."""
    tasks = bench.size(200_000, 3_000)
    with stage(bench, peer) as at:
        filling = at.producer().bulk(tasks)
        crew = at.crew(1)
        crew.go()
        ends = time.monotonic() + START
        while not sum(crew.counts()) and time.monotonic() < ends:
            time.sleep(0.002)
        ends = time.monotonic() + bench.length(20.0, 2.0)
        while sum(crew.counts()) < tasks and time.monotonic() < ends:
            time.sleep(0.01)
        notes = crew.dismiss()
    notes.check(outcome, peer.name, tasks, all_ran=False)
    if not notes.started_at:
        raise RuntimeError("no task was started")
    first = min(notes.started_at) / 1e9
    last = min(first + bench.length(20.0, 2.0), max(notes.started_at) / 1e9 + 1e-6)
    return {"tasks_per_s": notes.between(first, last), "seconds": last - first, "filling_s": filling}
