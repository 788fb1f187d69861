"""The metrics by name: what Prometheus sees, and docs/metrics.md explains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["gauge", "counter", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; counters are named as they are shown, with _total."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


QUEUE = ("queue",)

# Of the database: the same on every process that shows them.
DATABASE = (
    Metric("pgq_queue_pending", "gauge", QUEUE, "Tasks that wait, due or not."),
    Metric("pgq_queue_processing", "gauge", QUEUE, "Tasks held by workers."),
    Metric("pgq_queue_paused", "gauge", QUEUE, "1 while the queue is paused."),
    Metric("pgq_queue_oldest_due_seconds", "gauge", QUEUE, "For how long the oldest waiting task has been due."),
    Metric("pgq_queue_throttled", "gauge", QUEUE, "Tasks that the limit of a key sent back, and that wait for it."),
    Metric("pgq_queue_wait_seconds", "gauge", (*QUEUE, "quantile"),
           "From being due to the start, of the last 5 minutes: median and 95th percentile."),
    Metric("pgq_queue_run_seconds", "gauge", (*QUEUE, "quantile"), "What an attempt took, in the same way."),
    Metric("pgq_queue_arrival_rate", "gauge", QUEUE, "Tasks per second that arrived in the last minute."),
    Metric("pgq_queue_service_rate", "gauge", QUEUE, "Tasks per second that ended in the last minute."),
    Metric("pgq_queue_needed_workers", "gauge", QUEUE, "Workers that would drain what is due within a minute."),
    Metric("pgq_tasks_total", "counter", (*QUEUE, "outcome"),
           "Tasks that ended as completed, failed, dead, cancelled; attempts that failed and were retried."),
    Metric("pgq_workers", "gauge", ("state",), "Worker processes that are alive, stopping, silent."),
    Metric("pgq_worker_slots", "gauge", (), "Tasks that all live workers can run at once."),
    Metric("pgq_worker_slots_busy", "gauge", (), "Tasks that all live workers ran at their last heartbeat."),
    Metric("pgq_limit_max", "gauge", ("limit", "kind"), "What a queue's limit allows."),
    Metric("pgq_limit_used", "gauge", ("limit", "kind"), "What of it was used when upkeep saw it last."),
    Metric("pgq_health", "gauge", ("check",), "What each check of pgq.health found: 0 ok, 1 warns, 2 is critical."),
    Metric("pgq_limit_throttled_keys", "gauge", ("limit",), "Keys of a kind of limit that hold tasks back now."),
)  # fmt: skip

# Of one worker process.
PROCESS = (
    Metric("pgq_worker_info", "gauge", ("worker", "version"), "1; who this is."),
    Metric("pgq_worker_running", "gauge", (), "Tasks it runs now."),
    Metric("pgq_worker_concurrency", "gauge", (), "Tasks it can run at once."),
    Metric("pgq_worker_stopping", "gauge", (), "1 once it was told to stop."),
    Metric("pgq_worker_buffered", "gauge", QUEUE, "Tasks it has claimed and not started."),
    Metric("pgq_worker_claimed_total", "counter", QUEUE, "Tasks it claimed."),
    Metric("pgq_worker_outcomes_total", "counter", (*QUEUE, "outcome"),
           "Outcomes it wrote; returned are those not started, and snoozed."),
    Metric("pgq_worker_lost_leases_total", "counter", (), "Outcomes that came too late: another has the task."),
    Metric("pgq_worker_unwritten", "gauge", (), "Outcomes that are not written yet."),
    Metric("pgq_worker_claim_seconds", "histogram", (), "How long a round of claims takes."),
    Metric("pgq_worker_claim_tasks", "histogram", (), "How many tasks a round of claims brings."),
    Metric("pgq_worker_settle_seconds", "histogram", (), "How long it takes to write a batch of outcomes."),
    Metric("pgq_worker_settle_tasks", "histogram", (), "How many outcomes a batch has."),
)  # fmt: skip
