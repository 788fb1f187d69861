"""Alerts from end to end: `pgq worker --alerts` as a process, a dead letter, and a real server that is told."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import cli_app
import psycopg
import pytest
from command_line import document, start, succeed, until
from receivers import Hook, hook

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def ops() -> Iterator[Hook]:
    """Return an HTTP server."""
    with hook() as receiver:
        yield receiver


@pytest.fixture
def worker(dsn: str) -> Iterator[Start]:
    """Start workers with --alerts; those still there at the end are killed."""
    started: list[subprocess.Popen[str]] = []

    def start_one(*words: object, **options: Any) -> subprocess.Popen[str]:
        started.append(start("worker", "cli_app:app", "--alerts", "--lease", "3", *words, "--dsn", dsn, **options))
        return started[-1]

    yield start_one
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.fixture
def told(dsn: str, conn: psycopg.Connection, ops: Hook) -> Hook:
    """Return the server after it became the target of the rule on dead letters, the only one left."""
    cli_app.app.declare(conn)
    conn.execute("delete from pgq.alert_rules where name <> 'dead-letters'")
    succeed("alerts", "add-target", "ops", "--webhook", f"{ops.url}/hook", "--dsn", dsn)
    return ops


def kill_a_task(conn: psycopg.Connection, text: str) -> int:
    """Enqueue a task that fails for good, and wait until it is dead."""
    task_id = cli_app.fail.enqueue(conn, text=text)
    until(lambda: conn.execute("select from pgq.dead_tasks where id = %s", (task_id,)).fetchone() is not None)
    return task_id


def silent(receiver: Hook, seconds: float) -> None:
    with pytest.raises(queue.Empty):
        receiver.next(seconds)


def test_a_dead_letter_is_told_within_five_seconds_once_and_again_only_after_recovery(
    worker: Start, conn: psycopg.Connection, told: Hook, dsn: str
) -> None:
    process = worker()
    until(lambda: conn.execute("select from pgq.workers").fetchone() is not None)
    first = kill_a_task(conn, "no such customer")
    began = monotonic()
    post = told.next(5)
    assert monotonic() - began < 5
    (thing,) = post.document["firing"]
    assert (post.path, post.document["rule"], thing["key"]) == ("/hook", "dead-letters", "jobs")
    assert "no such customer" in thing["message"]
    assert "no such customer" in post.document["text"]
    assert post.headers["Idempotency-Key"] == post.document["id"]
    second = kill_a_task(conn, "nor this one")
    silent(told, 6)

    conn.execute("delete from pgq.tasks where id in (%s, %s)", (first, second))
    post = told.next(5)
    assert (post.document["firing"], [thing["key"] for thing in post.document["recovered"]]) == ([], ["jobs"])
    assert post.document["summary"] == "1 recovered"

    kill_a_task(conn, "a third")
    assert told.next(5).document["summary"] == "1 firing"
    silent(told, 4)
    history = until(lambda: all_sent(document("alerts", "history", "--dsn", dsn)))
    assert [(row["rule"], row["notes"], row["sent"]) for row in history] == [("dead-letters", 1, 1)] * 2
    process.terminate()
    assert process.wait(10) == 0


def all_sent(history: list[dict[str, Any]]) -> Any:
    return history if all(row["sent"] == row["notes"] for row in history) else None


def test_a_worker_killed_between_firing_and_delivery_loses_no_alert_and_tells_it_once(
    worker: Start, conn: psycopg.Connection, told: Hook
) -> None:
    first = worker()
    until(lambda: conn.execute("select from pgq.queues where name = 'pgq.alerts'").fetchone() is not None)
    conn.execute("select pgq.pause('pgq.alerts')")
    kill_a_task(conn, "no")
    until(lambda: conn.execute("select from pgq.alert_notes").fetchone() is not None)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    conn.execute("select pgq.resume('pgq.alerts')")
    silent(told, 0.5)
    worker()
    post = told.next(15)
    silent(told, 5)
    ((note,),) = conn.execute("select id::text from pgq.alert_notes").fetchall()
    assert post.headers["Idempotency-Key"] == note


def test_a_worker_killed_while_it_delivers_tells_it_again_under_the_same_id(
    worker: Start, conn: psycopg.Connection, told: Hook
) -> None:
    told.hold.clear()
    first = worker()
    kill_a_task(conn, "no")
    before = told.next(10)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    told.hold.set()
    worker()
    after = told.next(20)
    assert before.headers["Idempotency-Key"] == after.headers["Idempotency-Key"]
    until(lambda: conn.execute("select sent_at is not null from pgq.alert_notes").fetchone() == (True,))
    silent(told, 3)


def test_supervised_workers_share_the_watch_and_tell_once(worker: Start, conn: psycopg.Connection, told: Hook) -> None:
    supervisor = worker("--processes", "2")
    until(lambda: conn.execute("select count(*) from pgq.workers").fetchone() == (2,))
    rows = conn.execute("select distinct queues, supervisor is not null, scale from pgq.workers").fetchall()
    assert rows == [(["jobs", "side", "pgq.alerts"], True, "2")]
    kill_a_task(conn, "no")
    assert told.next(5).document["summary"] == "1 firing"
    silent(told, 4)
    supervisor.terminate()
    assert supervisor.wait(15) == 0


def test_a_target_that_fails_is_tried_again_and_raises_no_alert(
    worker: Start, conn: psycopg.Connection, told: Hook
) -> None:
    told.status = 500
    process = worker()
    kill_a_task(conn, "no")
    ids = {told.next(10).headers["Idempotency-Key"] for _ in range(3)}
    assert len(ids) == 1
    told.status = 200
    until(lambda: conn.execute("select sent_at is not null from pgq.alert_notes").fetchone() == (True,), 20)
    attempts, error = conn.execute("select attempts, last_error from pgq.alert_notes").fetchone()
    assert attempts >= 4
    assert error is None
    assert conn.execute("select count(*) from pgq.alerts").fetchone() == (1,)
    process.terminate()
    _, log = process.communicate(timeout=15)
    assert "webhook ops: answered 500" in log
    assert told.url not in log


@pytest.mark.usefixtures("told")
def test_without_the_flag_nothing_is_watched(conn: psycopg.Connection, dsn: str) -> None:
    process = start("worker", "cli_app:app", "--burst", "--dsn", dsn)
    cli_app.fail.enqueue(conn, text="no")
    process.communicate(timeout=20)
    assert conn.execute("select max(ran_at), count(*) from pgq.alert_rules").fetchone() == (None, 1)
