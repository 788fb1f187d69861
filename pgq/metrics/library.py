"""The Prometheus client, which comes with an extra: what is not there is said in one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pgq.errors import ConfigError
from pgq.meters import Histogram
from pgq.metrics.names import Metric

try:
    from prometheus_client import core as prometheus
    from prometheus_client.registry import Collector, CollectorRegistry
except ImportError:
    raise ConfigError("metrics need the Prometheus client: pip install 'pgq-tasks[metrics]'") from None

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

Samples = Mapping[str, list[tuple[tuple[str, ...], float]]]


def families(metrics: Iterable[Metric], samples: Samples) -> Iterator[Family]:
    """Yield what Prometheus shows of these metrics: each with its samples, given as (values of its labels, value)."""
    for metric in metrics:
        kind: Any = prometheus.CounterMetricFamily if metric.kind == "counter" else prometheus.GaugeMetricFamily
        family = kind(metric.name, metric.help, labels=metric.labels)
        for labels, value in samples.get(metric.name, ()):
            family.add_metric(labels, value)
        yield family


def histogram(metric: Metric, counted: Histogram) -> Family:
    """Return what Prometheus shows of a histogram: its counts are of all values up to each bound."""
    so_far, buckets = 0, []
    for bound, count in zip((*counted.bounds, float("inf")), list(counted.counts), strict=True):
        so_far += count
        buckets.append(("+Inf" if bound == float("inf") else f"{bound:g}", so_far))
    family = prometheus.HistogramMetricFamily(metric.name, metric.help)
    family.add_metric((), buckets, counted.total)
    return family


class Page(Collector):
    """A collector of families that were made already, or are made by a function at each look."""

    def __init__(self, made: Any) -> None:
        self._made = made

    def collect(self) -> Iterable[Family]:
        """Return the families."""
        found: Iterable[Family] = self._made() if callable(self._made) else self._made
        return found


def render(*collectors: Collector) -> bytes:
    """Return the page of these collectors, in Prometheus's text format."""
    from prometheus_client import generate_latest  # noqa: PLC0415 - beside the check that it is there

    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return generate_latest(registry)
