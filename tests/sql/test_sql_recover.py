"""recover, oldest_processing, prune_workers: what dead workers held comes back, and nothing else."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from factory import (
    clock,
    counts,
    key_holder,
    make_queue,
    make_task,
    make_tasks,
    make_worker,
    task_row,
)
from stages import claim, recover

from pgq.cursor import BEGINNING
from pgq.db import Call, run
from pgq.queue import Settings


@pytest.fixture
def living(conn: psycopg.Connection) -> Any:
    return make_worker(conn)


@pytest.fixture
def dead(conn: psycopg.Connection) -> Any:
    return make_worker(conn, silent_for=31, lease=0.2)


def test_what_started_before_the_clock_was_set_ahead_is_that_much_less_overdue(
    conn: psycopg.Connection, living: int
) -> None:
    task_id = make_task(conn, status="processing", worker_id=living, started_at=clock(conn) - timedelta(hours=1))
    stepped_at = clock(conn) - timedelta(seconds=1)
    assert recover(conn, stepped_at=stepped_at, ahead=3_590.0) == {}
    assert recover(conn, stepped_at=stepped_at - timedelta(hours=2), ahead=3_590.0) == {task_id: "pending"}


def test_a_task_of_a_dead_worker_is_due_although_the_clock_was_set_back(conn: psycopg.Connection, dead: int) -> None:
    task_id = make_task(conn, status="processing", worker_id=dead, due=600)
    assert recover(conn) == {task_id: "pending"}
    assert task_row(conn, task_id).scheduled_at <= clock(conn)


def test_a_task_of_a_dead_worker_goes_back_to_its_place_in_the_line(conn: psycopg.Connection, dead: int) -> None:
    task_id = make_task(conn, status="processing", worker_id=dead, due=-600)
    place = task_row(conn, task_id).scheduled_at
    assert recover(conn) == {task_id: "pending"}
    row = task_row(conn, task_id)
    assert (row.status, row.scheduled_at, row.lease, row.attempts, row.crashes) == ("pending", place, None, 1, 1)
    assert row.completed_at is None
    assert "died while it held this task" in row.last_error
    assert counts(conn) == {"retried": 1}


@pytest.mark.parametrize("worker_id", [4711, None])
def test_a_task_of_a_worker_that_is_not_in_the_table_goes_back(conn: psycopg.Connection, worker_id: int | None) -> None:
    task_id = make_task(conn, status="processing", worker_id=worker_id)
    assert recover(conn) == {task_id: "pending"}
    assert task_row(conn, task_id).crashes == 1


def test_a_fresh_task_of_a_living_worker_is_not_touched(conn: psycopg.Connection, living: int) -> None:
    task_id = make_task(conn, status="processing", worker_id=living, timeout=60, running_for=59)
    before = task_row(conn, task_id)
    assert recover(conn) == {}
    assert task_row(conn, task_id) == before


def test_a_worker_lives_as_long_as_its_own_lease_says(conn: psycopg.Connection) -> None:
    patient = make_worker(conn, silent_for=31, lease=60)
    make_task(conn, status="processing", worker_id=patient)
    assert recover(conn) == {}


def test_an_overdue_task_of_a_living_worker_waits_its_backoff(conn: psycopg.Connection, living: int) -> None:
    make_queue(conn, backoff="exponential", delay=10)
    task_id = make_task(conn, status="processing", worker_id=living, timeout=5, running_for=16, attempts=3)
    before = clock(conn)
    assert recover(conn, grace=10) == {task_id: "pending"}
    row = task_row(conn, task_id)
    assert before + timedelta(seconds=40) <= row.scheduled_at <= clock(conn) + timedelta(seconds=40)
    assert (row.crashes, row.last_error) == (0, "no answer 5 s after it started, its timeout")


def test_the_grace_past_the_timeout_is_granted(conn: psycopg.Connection, living: int) -> None:
    make_task(conn, status="processing", worker_id=living, timeout=5, running_for=14)
    assert recover(conn, grace=10) == {}


@pytest.mark.parametrize(("keep_dead", "end"), [(True, "dead"), (False, "failed")])
@pytest.mark.parametrize("overdue", [True, False])
def test_out_of_attempts_it_ends_and_frees_its_key(
    conn: psycopg.Connection, living: int, dead: int, keep_dead: bool, end: str, overdue: bool
) -> None:
    make_queue(conn, keep_dead=keep_dead)
    holder = {"worker_id": living, "running_for": 99, "timeout": 1} if overdue else {"worker_id": dead}
    task_id = make_task(conn, status="processing", attempts=3, max_attempts=3, suspect=True, unique_key="k", **holder)
    assert recover(conn) == {task_id: end}
    row = task_row(conn, task_id)
    assert (row.status, row.lease) == (end, None)
    assert row.completed_at is not None
    assert key_holder(conn, "k") is None
    assert counts(conn) == {end: 1}


@pytest.mark.parametrize("overdue", [True, False])
def test_a_last_attempt_that_had_not_begun_is_given_back_and_counts_as_a_crash(
    conn: psycopg.Connection, living: int, dead: int, overdue: bool
) -> None:
    holder = {"worker_id": living, "running_for": 99, "timeout": 1} if overdue else {"worker_id": dead}
    task_id = make_task(conn, status="processing", attempts=3, max_attempts=3, unique_key="k", due=-600, **holder)
    place = task_row(conn, task_id).scheduled_at
    assert recover(conn) == {task_id: "pending"}
    row = task_row(conn, task_id)
    assert (row.status, row.attempts, row.crashes, row.scheduled_at) == ("pending", 2, 1, place)
    assert (row.lease, row.completed_at) == (None, None)
    assert ("its last attempt was given back" if overdue else "died while it held this task") in row.last_error
    assert key_holder(conn, "k") == task_id
    assert counts(conn) == {}  # no attempt failed
    assert conn.execute("select count(*) from pgq.attempts").fetchone() == (0,)


def test_only_a_last_attempt_is_given_back(conn: psycopg.Connection, dead: int) -> None:
    task_id = make_task(conn, status="processing", attempts=2, max_attempts=3, worker_id=dead)
    assert recover(conn) == {task_id: "pending"}
    assert task_row(conn, task_id).attempts == 2
    assert counts(conn) == {"retried": 1}


def test_a_last_attempt_of_a_task_that_was_asked_to_stop_is_not_given_back(conn: psycopg.Connection, dead: int) -> None:
    make_task(conn, status="processing", attempts=1, max_attempts=1, worker_id=dead, cancel_requested=True)
    assert list(recover(conn).values()) == ["cancelled"]
    assert counts(conn) == {"cancelled": 1}


def test_what_was_suspect_once_is_not_when_it_is_claimed_again(conn: psycopg.Connection, living: int) -> None:
    task_id = make_task(conn, suspect=True)
    claim(conn, living)
    assert task_row(conn, task_id).suspect is False


def test_a_task_that_goes_back_keeps_its_key(conn: psycopg.Connection, dead: int) -> None:
    task_id = make_task(conn, status="processing", worker_id=dead, unique_key="k")
    recover(conn)
    assert key_holder(conn, "k") == task_id


def test_a_task_that_was_asked_to_stop_ends_as_cancelled(conn: psycopg.Connection, dead: int) -> None:
    task_id = make_task(conn, status="processing", worker_id=dead, cancel_requested=True, unique_key="k")
    assert recover(conn) == {task_id: "cancelled"}
    assert (key_holder(conn, "k"), counts(conn)) == (None, {"cancelled": 1})


def test_the_count_of_crashes_stops_before_it_overflows(conn: psycopg.Connection, dead: int) -> None:
    task_id = make_task(conn, status="processing", worker_id=dead, crashes=32767)
    assert recover(conn) == {task_id: "pending"}
    assert task_row(conn, task_id).crashes == 32767


def test_other_queues_are_left_alone(conn: psycopg.Connection, dead: int) -> None:
    make_task(conn, queue="other", status="processing", worker_id=dead)
    make_queue(conn)
    assert recover(conn) == {}


def test_tasks_that_started_before_the_floor_are_not_looked_at(conn: psycopg.Connection, dead: int) -> None:
    old = make_task(conn, status="processing", worker_id=dead, running_for=600)
    new = make_task(conn, status="processing", worker_id=dead, running_for=60)
    assert recover(conn, floor=clock(conn) - timedelta(seconds=300)) == {new: "pending"}
    assert recover(conn) == {old: "pending"}


def test_no_more_than_a_batch_comes_back_at_once_the_oldest_first(conn: psycopg.Connection, dead: int) -> None:
    made = [make_task(conn, status="processing", worker_id=dead, due=due) for due in (-1, -3, -2)]
    assert set(recover(conn, batch=2)) == {made[1], made[2]}


def test_rows_that_somebody_is_settling_are_skipped(conn: psycopg.Connection, dead: int, dsn: str) -> None:
    locked, free = make_tasks(conn, 2, status="processing", worker_id=dead)
    with psycopg.connect(dsn) as other:
        other.execute("select from pgq.tasks where id = %s for update", (locked,))
        assert recover(conn) == {free: "pending"}


def test_what_came_back_can_be_claimed_at_once(conn: psycopg.Connection, dead: int, living: int) -> None:
    task_id = make_task(conn, status="processing", worker_id=dead, due=-60)
    recover(conn)
    assert [(task.id, task.attempts, task.crashes) for task in claim(conn, living)] == [(task_id, 2, 1)]


@pytest.mark.parametrize("backoff", ["fixed", "exponential"])
@pytest.mark.parametrize("attempts", [0, 1, 2, 5, 17, 63, 64, 1000, 2**31 - 1])
def test_the_database_computes_the_same_backoff_as_the_worker(
    conn: psycopg.Connection, backoff: str, attempts: int
) -> None:
    settings = Settings(name="q", backoff=backoff, delay=1.5, max_delay=5000)
    query = "select pgq.retry_delay(%s, 1.5, 5000, %s)"
    assert conn.execute(query, (backoff, attempts)).fetchone() == (settings.retry_delay(attempts),)


def oldest(conn: psycopg.Connection, floor: datetime) -> Any:
    ((since,),) = run(conn, Call("oldest_processing", {"queue": "jobs", "floor": floor}))
    return since


def test_the_next_recovery_starts_a_margin_before_what_is_held_longest(conn: psycopg.Connection, living: int) -> None:
    make_task(conn, status="processing", worker_id=living, running_for=60)
    longest = make_task(conn, status="processing", worker_id=living, running_for=100)
    make_task(conn, status="completed", running_for=500)
    make_task(conn, status="processing", queue="other", running_for=500)
    assert oldest(conn, BEGINNING) == task_row(conn, longest).started_at - timedelta(seconds=10)


def test_the_next_recovery_starts_a_margin_ago_when_nothing_is_held(conn: psycopg.Connection) -> None:
    before = clock(conn)
    assert before <= oldest(conn, BEGINNING) + timedelta(seconds=10) <= clock(conn)


def test_only_workers_silent_past_their_lease_are_forgotten(conn: psycopg.Connection, living: int, dead: int) -> None:
    assert [row[0] for row in run(conn, Call("prune_workers", {}))] == [dead]
    assert conn.execute("select id from pgq.workers").fetchall() == [(living,)]
