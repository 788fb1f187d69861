"""What the scripts give: permits a second, by one client of pgq's own on one connection."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.harness import Bench
from benchmarks.results import Outcome
from pgq.grants import Held, Limit, Request, key_limit, queue_limit
from pgq.limit import acquire, answers, hold, report, take, taken
from pgq.limiter import call, connect_redis
from pgq.quota import KeyLimit, Quota

LOOSE = Quota(1_000_000_000, 1.0, 1_000_000_000)  # both limits are kept, neither ever says no
LEASE = 30.0
KEYS = 100
Turns = Iterator[tuple[str, float, int]]  # which script, its seconds, permits that passed


@dataclass(frozen=True, slots=True)
class Client:
    """A connection, and where the limits of one measurement are."""

    redis: Any
    prefix: str


def run(outcome: Outcome, bench: Bench, repetition: int) -> None:
    """Measure each script for a while, all on one connection."""
    redis = connect_redis(bench.redis_url)
    try:
        for name, turns in ways().items():
            spent: dict[str, list[tuple[float, int]]] = {}
            client = Client(redis, f"pgq-bench-{uuid.uuid4().hex[:12]}")
            ends = perf_counter() + bench.size(3.0, 0.2)
            for script, seconds, permits in turns(client):
                spent.setdefault(script, []).append((seconds, permits))
                if perf_counter() > ends:
                    break
            for script, calls in spent.items():
                add(outcome, bench, repetition, f"{script} {name}", calls)
    finally:
        redis.close()


def ways() -> dict[str, Callable[[Client], Turns]]:
    """Return what is measured, by what stands behind the script's name."""
    return {
        "want 1": lambda client: takes(client, 1),
        "want 500": lambda client: takes(client, 500),
        f"{KEYS} tasks, {KEYS} keys": acquires,
    }


def add(outcome: Outcome, bench: Bench, repetition: int, case: str, calls: list[tuple[float, int]]) -> None:
    """Take the sample of one script."""
    permits, seconds = sum(found for _, found in calls), sum(seconds for seconds, _ in calls)
    outcome.require(permits == len(calls) * calls[0][1] > 0, f"{case}: a limit that does not bind said no")
    metrics = {"permits_per_s": permits / seconds, "call_p50_us": median(seconds for seconds, _ in calls) * 1e6}
    outcome.add(f"script {case}", repetition, metrics)
    bench.say(f"limits: script {case}: {metrics['permits_per_s']:,.0f} permits/s")


def takes(client: Client, want: int) -> Turns:
    """Take permits of one queue, and say in the same call that those before ended, as a worker does."""
    limit = queue_limit(client.prefix, "bench", LOOSE)
    remember(client, limit)
    ended: list[Held] = []
    while True:
        began = perf_counter()
        permit = uuid.uuid4().hex
        got = taken(call(client.redis, take(limit, LEASE, permit, want, ended)))
        yield "take", perf_counter() - began, got.granted
        ended = [(permit, want, 0)]


def acquires(client: Client) -> Turns:
    """Acquire permits of as many keys as tasks, then report their ends, as a worker does."""
    kind = KeyLimit("tenant", LOOSE)
    limits = [key_limit(client.prefix, f"tenant:{i}", kind) for i in range(KEYS)]
    remember(client, limits[0])
    for batch in count():
        began = perf_counter()
        requests = [Request(f"{uuid.uuid4().hex}/{batch}", (limit,)) for limit in limits]
        got = answers(requests, call(client.redis, acquire(client.prefix, LEASE, requests))) or []
        yield "acquire", perf_counter() - began, sum(answer.granted for answer in got)
        began = perf_counter()
        pairs = [(limit, (request.permit, 1, 0)) for request in requests for limit in request.limits]
        call(client.redis, report(LEASE, pairs))
        yield "report", perf_counter() - began, len(pairs)


def remember(client: Client, limit: Limit) -> None:
    """Tell the server that nothing runs, without which it gives nothing."""
    call(client.redis, hold(LEASE, [], limit.place, complete=True, units=False))
