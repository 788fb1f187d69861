"""OpenTelemetry from enqueue to run: the span that enqueues is the parent of the spans that run its task.

The task keeps it as a W3C traceparent, from any process and from SQL (`pgq.enqueue(…, trace => …)`). Who never imports
OpenTelemetry pays for one look-up in a dict. Who does needs nothing else: spans go to the provider that the app has set
up when its worker starts. Without one nothing is traced: spans that nobody takes cost a third of a drain (2026-11-26).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pgq.task import Dead, Failed, RateLimited, Task
from pgq.version import __version__

if TYPE_CHECKING:
    from opentelemetry.trace import Span

API = "opentelemetry.trace"
FLUSH = 2_000  # milliseconds a child process may spend on sending its spans after a task


def current() -> str | None:
    """Return the traceparent of the span that is active here, None where there is none."""
    api = sys.modules.get(API)
    if api is None:
        return None
    span = api.get_current_span().get_span_context()
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}" if span.is_valid else None


class Tracer:
    """Makes the spans of runs. `Tracer.found()` is None where nobody set OpenTelemetry up."""

    def __init__(self) -> None:
        from opentelemetry import context, trace  # noqa: PLC0415 - comes with the app
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        self._api = trace
        self._nothing = context.Context()
        self._tracer = trace.get_tracer("pgq", __version__)
        self._propagator = TraceContextTextMapPropagator()

    @classmethod
    def found(cls) -> Tracer | None:
        """Return a tracer for the provider that this process has set; None where it has set none.

        That the API is imported says nothing: the Redis client imports it wherever it is installed.
        """
        api = sys.modules.get(API)
        if api is None or isinstance(api.get_tracer_provider(), api.ProxyTracerProvider | api.NoOpTracerProvider):
            return None
        return cls()

    @contextmanager
    def span(self, task: Task) -> Iterator[Span]:
        """Run a block in a consumer span whose parent enqueued the task; what it raises is recorded."""
        context = self._propagator.extract({"traceparent": task.trace or ""}, context=self._nothing)
        with self._tracer.start_as_current_span(
            f"process {task.task}",
            context=context,
            kind=self._api.SpanKind.CONSUMER,
            attributes=_attributes(task),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except RateLimited:
                span.set_attribute("pgq.outcome", "RateLimited")
                raise
            except BaseException as error:
                span.record_exception(error)
                self._failed(span, f"{type(error).__name__}: {error}")
                raise

    def ended(self, span: Span, value: Any) -> None:
        """Say on the span what the handler returned, where that is no plain success."""
        if isinstance(value, Dead | Failed):
            self._failed(span, value.reason if isinstance(value, Dead) else value.error)
        if type(value).__module__ == "pgq.task":
            span.set_attribute("pgq.outcome", type(value).__name__)

    def flush(self) -> None:
        """Send the spans that have ended: a child process may be killed before the provider does."""
        if send := getattr(self._api.get_tracer_provider(), "force_flush", None):
            send(FLUSH)

    def _failed(self, span: Span, why: str) -> None:
        span.set_status(self._api.Status(self._api.StatusCode.ERROR, why))


def _attributes(task: Task) -> dict[str, str | int]:
    return {
        "messaging.system": "pgq",
        "messaging.operation.type": "process",
        "messaging.destination.name": task.queue,
        "messaging.message.id": str(task.id),
        "pgq.task": task.task,
        "pgq.attempt": task.attempts,
    }
