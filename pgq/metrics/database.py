"""Metrics of the queues, the workers and the limits: the views as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from pgq.db import Call, Row, arun, run
from pgq.metrics.names import DATABASE

QUERIES = ("metric_queues", "metric_needs", "metric_totals", "metric_workers", "metric_limits", "health")
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OUTCOMES = ("completed", "failed", "dead", "cancelled", "retried")
QUEUES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("pgq_queue_pending", ()),
    ("pgq_queue_processing", ()),
    ("pgq_queue_paused", ()),
    ("pgq_queue_oldest_due_seconds", ()),
    ("pgq_queue_throttled", ()),
    ("pgq_queue_wait_seconds", ("0.5",)),
    ("pgq_queue_wait_seconds", ("0.95",)),
    ("pgq_queue_run_seconds", ("0.5",)),
    ("pgq_queue_run_seconds", ("0.95",)),
    ("pgq_queue_arrival_rate", ()),
    ("pgq_queue_service_rate", ()),
)  # the columns of metric_queues: a metric, and its labels after the queue
STATUSES = {"ok": 0.0, "warn": 1.0, "critical": 2.0}
Sample = tuple[tuple[str, ...], float]
Reading = Mapping[str, Sequence[Row]]


def read(conn: psycopg.Connection[Any]) -> Reading:
    """Return what the views say now. Raises psycopg.Error."""
    return {query: run(conn, Call(query, {})) for query in QUERIES}


async def aread(conn: psycopg.AsyncConnection[Any]) -> Reading:
    """Do the same on an async connection."""
    return {query: await arun(conn, Call(query, {})) for query in QUERIES}


def page(reading: Reading) -> bytes:
    """Return a reading in Prometheus's text format (see CONTENT_TYPE). Raises ConfigError without the extra."""
    from pgq.metrics.library import Page, families, render  # noqa: PLC0415 - comes with an extra

    return render(Page(list(families(DATABASE, samples(reading)))))


def samples(reading: Reading) -> dict[str, list[Sample]]:
    """Return the values of each metric by its name, with the values of their labels."""
    found: dict[str, list[Sample]] = {metric.name: [] for metric in DATABASE}
    for row in reading["metric_queues"]:
        _add_queue(found, *row)
    for queue, needed in reading["metric_needs"]:
        found["pgq_queue_needed_workers"].append(((queue,), float(needed)))
    for name, status, *_ in reading["health"]:
        found["pgq_health"].append(((name,), STATUSES[status]))
    for queue, *totals in reading["metric_totals"]:
        for outcome, total in zip(OUTCOMES, totals, strict=True):
            found["pgq_tasks_total"].append(((queue, outcome), float(total)))
    for *states, slots, busy in reading["metric_workers"]:
        for state, number in zip(("alive", "stopping", "silent"), states, strict=True):
            found["pgq_workers"].append(((state,), float(number)))
        found["pgq_worker_slots"].append(((), float(slots)))
        found["pgq_worker_slots_busy"].append(((), float(busy)))
    for limit in reading["metric_limits"]:
        _add_limit(found, *limit)
    return found


def _add_queue(found: dict[str, list[Sample]], queue: str, *now: float | None) -> None:
    """Add what a queue has; where nobody knows, no sample."""
    for (name, labels), value in zip(QUEUES, now, strict=True):
        if value is not None:
            found[name].append(((queue, *labels), float(value)))


def _add_limit(
    found: dict[str, list[Sample]],
    name: str,
    rate: int | None,
    slots: int | None,
    used: int | None,
    running: int | None,
    throttled: int,
) -> None:
    """Add the limit of a queue, or how many keys of a kind hold tasks back."""
    if ":" not in name:
        found["pgq_limit_throttled_keys"].append(((name,), float(throttled)))
    for kind, most, now in (("rate", rate, used), ("concurrency", slots, running)):
        if most is not None:
            found["pgq_limit_max"].append(((name, kind), float(most)))
            found["pgq_limit_used"].append(((name, kind), float(now or 0)))
