"""cancel, retry, pause, resume: what an operator does, in plain SQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from factory import ENDED, clock, counts, key_holder, make_day, make_queue, make_task, make_worker, task_row
from stages import claim, complete


def call(conn: psycopg.Connection, function: str, argument: object) -> Any:
    return conn.execute(f"select pgq.{function}(%s)", (argument,)).fetchone()[0]


def heard(conn: psycopg.Connection) -> Any:
    return [note.payload for note in conn.notifies(timeout=0.2)]


@pytest.fixture
def ear(direct_dsn: str) -> Iterator[Any]:
    with psycopg.connect(direct_dsn, autocommit=True) as ear:
        ear.execute("listen pgq")
        yield ear


def test_a_waiting_task_is_cancelled_at_once_and_frees_its_key(conn: psycopg.Connection) -> None:
    task_id = make_task(conn, unique_key="k", due=60)
    assert call(conn, "cancel", task_id) == "cancelled"
    row = task_row(conn, task_id)
    assert (row.status, row.cancel_requested) == ("cancelled", True)
    assert row.completed_at is not None
    assert (key_holder(conn, "k"), counts(conn)) == (None, {"cancelled": 1})


def test_a_cancelled_task_is_never_claimed(conn: psycopg.Connection) -> None:
    call(conn, "cancel", make_task(conn))
    assert claim(conn, make_worker(conn)) == []


def test_a_running_task_is_asked_to_stop_and_its_worker_told(conn: psycopg.Connection, ear: psycopg.Connection) -> None:
    task_id = make_task(conn, status="processing", unique_key="k")
    assert call(conn, "cancel", task_id) == "requested"
    row = task_row(conn, task_id)
    assert (row.status, row.cancel_requested, row.completed_at) == ("processing", True, None)
    assert (key_holder(conn, "k"), counts(conn)) == (task_id, {})
    proof = conn.execute("select pgq.cancel_proof(id, lease) from pgq.tasks").fetchone()[0]
    assert f"cancel:{task_id}:{proof}" in heard(ear)


@pytest.mark.parametrize("status", sorted(ENDED))
def test_cancelling_a_task_that_ended_changes_nothing_and_says_what_it_is(
    conn: psycopg.Connection, status: str
) -> None:
    task_id = make_task(conn, status=status)
    before = task_row(conn, task_id)
    assert call(conn, "cancel", task_id) == status
    assert task_row(conn, task_id) == before


def test_cancelling_twice_counts_once(conn: psycopg.Connection) -> None:
    task_id = make_task(conn)
    assert [call(conn, "cancel", task_id) for _ in range(2)] == ["cancelled", "cancelled"]
    assert counts(conn) == {"cancelled": 1}


@pytest.mark.parametrize("function", ["cancel", "retry"])
def test_no_such_task_is_an_error_that_names_it(conn: psycopg.Connection, function: str) -> None:
    with pytest.raises(psycopg.Error, match="no task 4711") as caught:
        call(conn, function, 4711)
    assert caught.value.sqlstate == "PQ004"


@pytest.mark.parametrize("status", sorted(ENDED))
def test_an_ended_task_starts_over(conn: psycopg.Connection, status: str) -> None:
    task_id = make_task(
        conn, status=status, due=-600, attempts=5, crashes=2, cancel_requested=True, unique_key="k", last_error="e"
    )
    before = clock(conn)
    assert call(conn, "retry", task_id) == "pending"
    row = task_row(conn, task_id)
    assert (row.status, row.attempts, row.crashes, row.cancel_requested) == ("pending", 0, 0, False)
    assert (row.started_at, row.completed_at, row.worker_id, row.last_error) == (None, None, None, "e")
    assert before <= row.scheduled_at <= clock(conn)
    assert key_holder(conn, "k") == task_id


def test_a_task_that_waits_becomes_due_now_and_keeps_its_attempts(conn: psycopg.Connection) -> None:
    task_id = make_task(conn, due=3600, attempts=2, unique_key="k")
    assert call(conn, "retry", task_id) == "pending"
    row = task_row(conn, task_id)
    assert (row.attempts, row.scheduled_at <= clock(conn)) == (2, True)
    assert key_holder(conn, "k") == task_id


def test_a_running_task_is_not_retried(conn: psycopg.Connection) -> None:
    task_id = make_task(conn, status="processing")
    before = task_row(conn, task_id)
    assert call(conn, "retry", task_id) == "processing"
    assert task_row(conn, task_id) == before


def test_a_task_retried_from_another_day_moves_to_today_and_is_claimed(conn: psycopg.Connection) -> None:
    old, today = make_day(conn, -3), make_day(conn, 0)
    task_id = make_task(conn, status="dead", scheduled_at=clock(conn) - timedelta(days=3))
    assert task_row(conn, task_id).leaf == f"pgq.{old}"
    call(conn, "retry", task_id)
    assert task_row(conn, task_id).leaf == f"pgq.{today}"
    (task,) = claim(conn, make_worker(conn))
    assert complete(conn, task) == [task_id]


def test_a_retry_whose_key_was_taken_meanwhile_is_refused_and_changes_nothing(conn: psycopg.Connection) -> None:
    task_id = make_task(conn, status="dead", unique_key="k")
    holder = make_task(conn, unique_key="k")
    before = task_row(conn, task_id)
    with pytest.raises(psycopg.Error, match="unique_key 'k' of queue 'jobs' is held") as caught:
        call(conn, "retry", task_id)
    assert caught.value.sqlstate == "PQ003"
    assert task_row(conn, task_id) == before
    assert key_holder(conn, "k") == holder


def test_retry_rings_for_a_sleeper(conn: psycopg.Connection, ear: psycopg.Connection, direct_dsn: str) -> None:
    task_id = make_task(conn, status="dead")
    (bell,) = conn.execute("select bell from pgq.queues").fetchone()
    with psycopg.connect(direct_dsn) as sleeper:
        sleeper.execute("select pg_advisory_lock(7366513, %s)", (bell,))
        call(conn, "retry", task_id)
    assert "ring:jobs" in heard(ear)


def test_a_pause_lasts_from_its_first_moment_until_resumed(conn: psycopg.Connection) -> None:
    make_queue(conn)
    call(conn, "pause", "jobs")
    first = conn.execute("select paused_at from pgq.queues").fetchone()
    call(conn, "pause", "jobs")
    assert conn.execute("select paused_at from pgq.queues").fetchone() == first != (None,)
    call(conn, "resume", "jobs")
    assert conn.execute("select paused_at from pgq.queues").fetchone() == (None,)


def test_a_paused_queue_takes_new_tasks(conn: psycopg.Connection) -> None:
    make_queue(conn)
    call(conn, "pause", "jobs")
    (task_id,) = conn.execute("select pgq.enqueue('jobs', 'work')").fetchone()
    assert task_row(conn, task_id).status == "pending"


@pytest.mark.parametrize("function", ["pause", "resume"])
def test_an_unknown_queue_is_an_error_that_names_it(conn: psycopg.Connection, function: str) -> None:
    with pytest.raises(psycopg.Error, match="unknown queue 'nope'") as caught:
        call(conn, function, "nope")
    assert caught.value.sqlstate == "PQ001"


def test_every_change_of_a_queue_is_announced(conn: psycopg.Connection, ear: psycopg.Connection) -> None:
    make_queue(conn)
    conn.execute("update pgq.queues set concurrency = 3")
    call(conn, "pause", "jobs")
    assert "settings:" in heard(ear)
