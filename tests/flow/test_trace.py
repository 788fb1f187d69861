"""Traces from enqueue to run: kept with the task, taken up by whichever process runs it; nothing without a span."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import traced_app
from command_line import finish, start, statuses, succeed
from factory import make_queue, task_row
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pgq import trace

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def provider() -> TracerProvider:
    return TracerProvider()


def spans_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def the_only_one(conn: psycopg.Connection) -> int:
    ((task_id,),) = conn.execute("select id from pgq.tasks").fetchall()
    return task_id


def plain(number: str) -> str:
    return number.removeprefix("0x")


@pytest.mark.parametrize(
    "door",
    [
        lambda conn: traced_app.on_the_loop.enqueue(conn, n=1),
        lambda conn: traced_app.on_the_loop.options(unique_key="k").enqueue(conn, n=1),
        lambda conn: traced_app.on_the_loop.enqueue_many(conn, [{"n": 1}, {"n": 2}])[1],
        lambda conn: traced_app.on_the_loop.copy(conn, [{"n": 1}]) and the_only_one(conn),
    ],
    ids=["one", "unique", "many", "copy"],
)  # fmt: skip
def test_every_door_keeps_the_span_that_is_active(
    conn: psycopg.Connection, provider: TracerProvider, door: Callable[[psycopg.Connection], int]
) -> None:
    traced_app.app.declare(conn)
    with provider.get_tracer("test").start_as_current_span("order") as span:
        task_id = door(conn)
    context = span.get_span_context()
    assert (
        task_row(conn, task_id).trace == f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    )


def test_without_a_span_nothing_is_kept(conn: psycopg.Connection, dsn: str) -> None:
    traced_app.app.declare(conn)
    assert task_row(conn, traced_app.on_the_loop.enqueue(conn, n=1)).trace is None
    assert task_row(conn, int(succeed("enqueue", "traced", "on_the_loop", "--dsn", dsn))).trace is None


def test_sql_takes_a_traceparent_and_refuses_what_is_none(conn: psycopg.Connection) -> None:
    make_queue(conn)
    for call in (
        f"pgq.enqueue('jobs', 'work', '{{}}', trace => '{PARENT}')",
        f"pgq.enqueue('jobs', 'work', '{{}}'::jsonb, trace => '{PARENT}')",
        f"pgq.enqueue_many('jobs', 'work', array['{{}}'::jsonb], trace => '{PARENT}')",
    ):
        assert task_row(conn, conn.execute(f"select {call}").fetchone()[0]).trace == PARENT
    with pytest.raises(psycopg.Error, match="trace must be a W3C traceparent, got 'x'"):
        conn.execute("select pgq.enqueue('jobs', 'work', '{}', trace => 'x')")


def test_a_worker_and_its_children_go_on_with_the_trace(conn: psycopg.Connection, dsn: str, tmp_path: Path) -> None:
    traced_app.app.declare(conn)
    names = ("on_the_loop", "in_a_thread", "in_a_child")
    ids = {}
    for n, name in enumerate(names):
        call = "select pgq.enqueue('traced', %s, jsonb_build_object('n', %s::int), trace => %s)"
        (ids[name],) = conn.execute(call, (name, n, PARENT)).fetchone()
    (untraced,) = conn.execute("select pgq.enqueue('traced', 'on_the_loop', '{\"n\": 9}')").fetchone()
    process = start("worker", "traced_app:app", "--burst", "--dsn", dsn, env={"TRACES": str(tmp_path / "spans")})
    code, _, log = finish(process)
    assert (code, log.count("Traceback")) == (0, 0)
    spans = spans_of(tmp_path / "spans")
    by_task = {span["attributes"].get("messaging.message.id"): span for span in spans}
    _, trace_id, parent, _ = PARENT.split("-")
    for n, name in enumerate(names):
        span = by_task[str(ids[name])]
        assert (span["name"], span["kind"]) == (f"process {name}", "SpanKind.CONSUMER")
        assert (plain(span["context"]["trace_id"]), plain(span["parent_id"])) == (trace_id, parent)
        assert span["status"]["status_code"] == "UNSET"
        assert (span["pid"] == process.pid) is (name != "in_a_child")
        (inside,) = [one for one in spans if one["name"] == f"inside {n}"]
        assert inside["parent_id"] == span["context"]["span_id"]
    assert by_task[str(untraced)]["parent_id"] is None


def test_errors_stand_on_the_span_once_for_each_attempt(conn: psycopg.Connection, dsn: str, tmp_path: Path) -> None:
    traced_app.app.declare(conn)
    failing = traced_app.fails.enqueue(conn, n=7)
    dead = traced_app.gives_up.enqueue(conn, n=7)
    while statuses(conn, failing, dead) != ["dead", "dead"]:  # a burst does not wait for a retry
        finish(start("worker", "traced_app:app", "--burst", "--dsn", dsn, env={"TRACES": str(tmp_path / "spans")}))
    spans = spans_of(tmp_path / "spans")
    failed = [span for span in spans if span["attributes"].get("messaging.message.id") == str(failing)]
    assert [span["attributes"]["pgq.attempt"] for span in failed] == [1, 2]
    for span in failed:
        assert span["status"] == {"status_code": "ERROR", "description": "ValueError: no 7"}
        assert span["events"][0]["attributes"]["exception.type"] == "ValueError"
    (gone,) = [span for span in spans if span["attributes"].get("messaging.message.id") == str(dead)]
    assert gone["status"] == {"status_code": "ERROR", "description": "not 7"}
    assert gone["attributes"]["pgq.outcome"] == "Dead"


def test_a_run_in_this_process_is_a_child_of_the_span_that_enqueued(
    conn: psycopg.Connection, provider: TracerProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    from factory import held, make_worker  # noqa: PLC0415 - only here
    from opentelemetry import trace as api  # noqa: PLC0415

    kept = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(api, "get_tracer_provider", lambda: provider)
    traced_app.app.declare(conn)
    with provider.get_tracer("test").start_as_current_span("order"):
        task_id = traced_app.on_the_loop.enqueue(conn, n=1)
    make_worker(conn)
    tracer = trace.Tracer.found()
    assert tracer is not None
    with tracer.span(held(conn, task_id)):
        assert trace.current() is not None
    order, process = kept.get_finished_spans()
    assert process.parent is not None
    assert process.parent.span_id == order.context.span_id


def test_the_imported_api_alone_traces_nothing() -> None:
    code = "import opentelemetry.trace; from pgq.trace import Tracer; print(Tracer.found())"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "None\n"
