"""Metrics of one worker process: what it counted itself. Reading them disturbs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pgq.metrics.library import Samples, families, histogram
from pgq.metrics.names import PROCESS
from pgq.version import __version__

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

    from pgq.worker import Worker


def collect(worker: Worker) -> Iterator[Family]:
    """Yield what Prometheus shows of a worker; before it has started, only who it is."""
    if not hasattr(worker, "settler"):
        yield from families([m for m in PROCESS if m.name == "pgq_worker_info"], _who(worker))
        return
    plain = [metric for metric in PROCESS if metric.kind != "histogram"]
    yield from families(plain, {**_who(worker), **_now(worker), **_so_far(worker)})
    line, settler = worker.line.meters, worker.settler.meters
    counted = {
        "pgq_worker_claim_seconds": line.claim_seconds,
        "pgq_worker_claim_tasks": line.claim_tasks,
        "pgq_worker_settle_seconds": settler.settle_seconds,
        "pgq_worker_settle_tasks": settler.settle_tasks,
    }
    for metric in PROCESS:
        if metric.kind == "histogram":
            yield histogram(metric, counted[metric.name])


def _who(worker: Worker) -> Samples:
    return {"pgq_worker_info": [((worker.member.name, __version__), 1.0)]}


def _now(worker: Worker) -> Samples:
    lanes = list(worker.board.lanes.items())
    return {
        "pgq_worker_running": [((), float(len(worker.runner.running)))],
        "pgq_worker_concurrency": [((), float(worker.config.concurrency))],
        "pgq_worker_stopping": [((), float(worker.stopping.is_set()))],
        "pgq_worker_buffered": [((name,), float(len(lane.buffer))) for name, lane in lanes],
        "pgq_worker_unwritten": [((), float(worker.settler.backlog))],
    }


def _so_far(worker: Worker) -> Samples:
    claimed, outcomes = worker.line.meters.claimed, worker.settler.meters.outcomes
    return {
        "pgq_worker_claimed_total": [((queue,), float(claimed[queue])) for queue in worker.board.lanes],
        "pgq_worker_outcomes_total": [(pair, float(number)) for pair, number in list(outcomes.items())],
        "pgq_worker_lost_leases_total": [((), float(worker.settler.lost))],
    }
