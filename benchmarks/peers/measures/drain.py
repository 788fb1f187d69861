"""How fast the workers of each peer empty a queue of no-op tasks, 1 and 2 worker processes.

Timed (`tasks_per_s`): from the moment every worker process has started its first task until the last outcome is
committed, and only the tasks that had not started by then are counted. So what starting takes is outside, and no peer
is charged for its interpreter. A start is what the handler notes, asked for over a pipe; an outcome is what the peer's
own tables say. For celery, whose tasks are acknowledged before they run, the last start is the end.

On: a fresh database with the peer's own schema, never analyzed by hand, filled through the peer's own bulk call before
the start; as many tasks (`tasks`) as the peer does in some seconds. Server, workers and harness share the machine; the
server is Redis where the peer works in it. `worker_rss_mb` is of one worker with the children it has forked, in each
of which the pages that they share are counted again; the CPU time is of all workers.

Durability: the server's as in the manifest for all that live in it, which is all but celery.

Checked: every task was executed once, by the handlers' own notes.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from benchmarks.harness import Bench
from benchmarks.measure import Gauge, Reading, costs, peak_rss
from benchmarks.peers import turns, verdict
from benchmarks.peers.peer import Peer
from benchmarks.peers.stage import Crew, Stage, settled, stage, wait_for
from benchmarks.results import Outcome
from pgq.limiter import connect_redis

HEADLINE = ("tasks_per_s", "server_cpu_s_per_10k", "worker_cpu_s_per_10k", "wal_bytes_per_task", "worker_rss_mb")
NOTE = "What is left of a task differs, see the settings: who deletes or compacts has less to write."
LOWER_IS_BETTER = HEADLINE[1:]
remarks = partial(verdict.compare, headline=HEADLINE, lower_is_better=LOWER_IS_BETTER, note=NOTE)
PROCESSES = (1, 2)
START = 15.0  # seconds for every worker to get a task; one that comes too late gets none
QUICK = 20  # times fewer tasks


def run(bench: Bench, peers: Sequence[Peer]) -> Outcome:
    """Measure 1 and 2 worker processes."""
    outcome = Outcome("peers-drain")
    for processes in PROCESSES:
        what = f"{processes} process{'es' if processes > 1 else ''}"
        turns.take(outcome, bench, peers, what, partial(measure, outcome, bench, processes))
    return outcome


def measure(outcome: Outcome, bench: Bench, processes: int, peer: Peer, _repetition: int) -> dict[str, float]:
    """Fill, start, and wait for the last outcome; returns the metrics."""
    tasks = peer.tasks // bench.size(1, QUICK)
    with stage(bench, peer) as at:
        at.producer().bulk(tasks)
        crew = at.crew(processes)
        before, started = begin(bench, at, crew, tasks)
        wait_for(crew, tasks)
        settled(at, tasks)
        ended = time.monotonic()
        spent = read(bench, at, crew.pids()) - before
        rss = max(sum(map(peak_rss, processes)) for processes in crew.families())
        crew.dismiss().check(outcome, f"{peer.name}, {processes}", tasks)
    timed = tasks - started
    took = ended - before.at
    spends = costs(spent, timed, "worker")
    if peer.redis:
        del spends["wal_bytes_per_task"]
    return {"tasks_per_s": timed / took, "tasks": tasks, **spends, "worker_rss_mb": rss}


def begin(bench: Bench, at: Stage, crew: Crew, tasks: int) -> tuple[Reading, int]:
    """Let workers go; returns what had been spent and how many had started when each had started one."""
    fresh = read(bench, at, crew.pids())
    crew.go()
    ends = time.monotonic() + START
    while not all(counts := crew.counts()) and sum(counts) < tasks and time.monotonic() < ends:
        time.sleep(0.001)
    reading = read(bench, at, crew.pids())
    started = sum(crew.counts())
    return (reading, started) if started < tasks else (fresh, 0)


def read(bench: Bench, at: Stage, pids: Sequence[int]) -> Reading:
    """Read the counters; the server of a peer that works in Redis is Redis."""
    reading = Gauge(at.conn, pids).read()
    return replace(reading, server_cpu=redis_cpu(bench.redis_url)) if at.peer.redis else reading


def redis_cpu(url: str) -> float:
    """Return the CPU seconds of a Redis, as it says itself."""
    with contextlib.closing(connect_redis(url)) as client:
        used = client.info("cpu")
    return float(used["used_cpu_sys"]) + float(used["used_cpu_user"])
