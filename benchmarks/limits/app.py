"""The app under limits: the queue of the other scenarios, its tasks, one kind of key; and how limits are set live."""

from __future__ import annotations

import asyncio
import uuid
from time import monotonic_ns
from typing import Any

import psycopg

import pgq
from benchmarks import app as plain
from pgq.cli.settings import change, change_limit
from pgq.quota import Quota

MODULE = "benchmarks.limits.app"
KIND = "tenant"
NONE = Quota()
BRIEF = 0.05  # seconds that `brief` takes

app = pgq.App()
app.key_limit(KIND, rate=pgq.Rate(10_000_000, per=1))  # each measurement sets its own
queue = app.queue(plain.QUEUE)
noop = queue.task(plain.noop)


@queue.task(limit_key="tenant:{tenant}")
async def keyed(i: int, tenant: str) -> None:  # noqa: ARG001 - only its key needs the tenant
    """Note that it ran."""
    plain.executed.append(i)
    plain.started_at.append(monotonic_ns())


@queue.task
async def brief(i: int) -> None:
    """Note that it ran, and take a moment."""
    plain.executed.append(i)
    plain.started_at.append(monotonic_ns())
    await asyncio.sleep(BRIEF)


def order(redis_url: str) -> dict[str, Any]:
    """Return what a worker of this app needs beside a database: the limiter, with no memory of other measurements."""
    return {"app": MODULE, "redis_url": redis_url, "limit_prefix": f"pgq-bench-{uuid.uuid4().hex[:12]}"}


def impose(conn: psycopg.Connection, queue: Quota = NONE, tenant: Quota = NONE) -> None:
    """Set the limit of the queue and that of each tenant; a tenant that nobody limits stays as declared."""
    app.declare(conn)  # first: a worker does it too, and only what is changed after it stays
    change(conn, plain.QUEUE, _settings(queue))
    if tenant.binds:
        change_limit(conn, KIND, _settings(tenant))


def _settings(quota: Quota) -> dict[str, Any]:
    return {"rate_max": quota.max, "rate_per": quota.per, "concurrency": quota.slots}
