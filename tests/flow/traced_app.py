"""An app whose spans go to the file that TRACES names, as one JSON object a line, from every process."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import pgq


class Lines(SpanExporter):
    """Appends spans to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with self._path.open("a") as file:
            file.writelines(json.dumps({**json.loads(span.to_json()), "pid": os.getpid()}) + "\n" for span in spans)
        return SpanExportResult.SUCCESS


if "TRACES" in os.environ:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Lines(Path(os.environ["TRACES"]))))
    trace.set_tracer_provider(provider)

app = pgq.App()
traced = app.queue("traced", max_attempts=2, backoff=pgq.Fixed(0.01))


@traced.task
async def on_the_loop(n: int) -> None:
    with trace.get_tracer("app").start_as_current_span(f"inside {n}"):
        pass


@traced.task
def in_a_thread(n: int) -> None:
    with trace.get_tracer("app").start_as_current_span(f"inside {n}"):
        pass


@traced.task(process=True)
def in_a_child(n: int) -> None:
    with trace.get_tracer("app").start_as_current_span(f"inside {n}"):
        pass


@traced.task
async def fails(n: int) -> None:
    raise ValueError(f"no {n}")


@traced.task
async def gives_up(n: int) -> pgq.Dead:
    return pgq.Dead(f"not {n}")
