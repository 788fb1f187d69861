"""What a limit costs that never says no: the drain of the scenario `drain` without a limit and with one, by turns."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg

from benchmarks.harness import Bench
from benchmarks.limits import app
from benchmarks.results import Outcome
from benchmarks.scenarios import drain
from pgq.limiter import connect_redis
from pgq.quota import Quota

TENANTS = 1_000
RATE = Quota(10_000_000, 1.0)
SLOTS = Quota(slots=100_000)
BOTH = Quota(10_000_000, 1.0, 100_000)
FREE = "drain, no limit"


@dataclass(frozen=True, slots=True)
class Case:
    """A limit of the queue, and one of each tenant, who then are many."""

    queue: Quota = app.NONE
    tenant: Quota = app.NONE


CASES: Mapping[str, Case] = {
    "drain, rate": Case(RATE),
    "drain, concurrency": Case(SLOTS),
    "drain, rate and concurrency": Case(BOTH),
}
KEYED: Mapping[str, Case] = {
    f"drain, {TENANTS:,} keys with a rate": Case(tenant=RATE),
    f"drain, {TENANTS:,} keys with both": Case(tenant=BOTH),
}
ROUNDS = 3  # in each repetition; one measurement may be off by a tenth, whatever it measures


def run(outcome: Outcome, bench: Bench, repetition: int) -> None:
    """Drain by turns without a limit and with each; keys once, for they take long. A quick run has few cases."""
    rounds, free = bench.size(ROUNDS, 1), 0.0
    for number in range(repetition * rounds, (repetition + 1) * rounds):
        free = plainly(outcome, bench, number)
        # Whoever comes right after another may profit from it or suffer, so the order changes.
        names = list(CASES)[number % len(CASES) :] + list(CASES)[: number % len(CASES)]
        for name in ["drain, rate and concurrency"] if bench.quick else names:
            compare(outcome, bench, number, name, CASES[name], free)
    for name, case in KEYED.items():
        if not bench.quick or case.tenant == BOTH:
            compare(outcome, bench, repetition, name, case, free)


def plainly(outcome: Outcome, bench: Bench, number: int) -> float:
    """Drain without a limit; returns the rate."""
    metrics = measure(outcome, bench, FREE, None)
    outcome.add(FREE, number, metrics)
    return metrics["tasks_per_s"]


def compare(outcome: Outcome, bench: Bench, number: int, name: str, case: Case, free: float) -> None:
    """Drain with a limit, and compare the rate with that of the last drain without one."""
    metrics = measure(outcome, bench, name, case)
    ratio = metrics["tasks_per_s"] / free
    outcome.add(name, number, {"tasks_per_s": metrics["tasks_per_s"], "ratio_to_no_limit": ratio, **metrics})
    bench.say(f"limits: {name}: {metrics['tasks_per_s']:,.0f}/s, {ratio:.2f} of {free:,.0f} without")


def measure(outcome: Outcome, bench: Bench, name: str, case: Case | None) -> dict[str, float]:
    """Drain once; None stands for no limit, and a worker that knows of no limiter."""
    tasks = bench.size(10_000 if case is not None and case.tenant.binds else 60_000, 1_000)
    with (
        bench.database() as dsn,
        psycopg.connect(dsn, autocommit=True) as conn,
        closing(connect_redis(bench.redis_url)) as redis,
    ):
        before = limiter_cpu(redis)
        if case is None:
            drained = drain.drain(conn, dsn, 1, tasks)
        else:
            app.impose(conn, case.queue, case.tenant)
            add = with_tenants if case.tenant.binds else app.noop.enqueue_many
            drained = drain.drain(conn, dsn, 1, tasks, add, **app.order(bench.redis_url))
        spent = limiter_cpu(redis) - before
        drain.check(outcome, conn, drained, tasks, name)
        metrics = drain.figures(conn, drained, tasks)
    return {**metrics, "limiter_cpu_s_per_10k": spent * 10_000 / tasks}


def with_tenants(conn: psycopg.Connection, payloads: list[dict[str, Any]]) -> None:
    """Enqueue tasks of many tenants, each tenant's far apart."""
    app.keyed.enqueue_many(conn, [{**payload, "tenant": str(payload["i"] % TENANTS)} for payload in payloads])


def limiter_cpu(redis: Any) -> float:
    """Return the seconds of CPU that the limiter's server has used."""
    used = redis.info("cpu")
    return float(used["used_cpu_sys"] + used["used_cpu_user"])
