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
    f"drain, {TENANTS:,} keys with a rate": Case(tenant=RATE),
    f"drain, {TENANTS:,} keys with both": Case(tenant=BOTH),
}


def run(outcome: Outcome, bench: Bench, repetition: int) -> None:
    """Drain once without a limit before each drain with one; a quick run does so only once, and has few cases."""
    free = 0.0
    for place, (name, case) in enumerate(CASES.items()):
        if bench.quick and BOTH not in (case.queue, case.tenant):
            continue
        if not free or not bench.quick:
            metrics = measure(outcome, bench, FREE, None)
            free = metrics["tasks_per_s"]
            outcome.add(FREE, repetition * len(CASES) + place, metrics)
        metrics = measure(outcome, bench, name, case)
        ratio = metrics["tasks_per_s"] / free
        outcome.add(name, repetition, {"tasks_per_s": metrics["tasks_per_s"], "ratio_to_no_limit": ratio, **metrics})
        bench.say(f"limits: {name}: {metrics['tasks_per_s']:,.0f}/s, {ratio:.2f} of {free:,.0f} without")


def measure(outcome: Outcome, bench: Bench, name: str, case: Case | None) -> dict[str, float]:
    """Drain once; None stands for no limit, and a worker that knows of no limiter."""
    tasks = bench.size(30_000, 1_000)
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
