"""settle: every outcome but success, fenced by lease."""

from __future__ import annotations

import dataclasses
import uuid
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from factory import clock, counts, held, key_holder, make_day, make_task, task_row
from stages import settle

from pgq.task import Settled

ENDS = ["failed", "dead", "cancelled"]


def settle_one(conn: psycopg.Connection, task_id: int, **outcome: Any) -> object:
    assert settle(conn, (held(conn, task_id), Settled(**outcome))) == [task_id]
    return task_row(conn, task_id)


@pytest.mark.parametrize("outcome", [Settled("pending", after=1.0), Settled("dead", error="e"), Settled("cancelled")])
def test_only_the_lease_that_holds_the_task_may_settle_it(conn: psycopg.Connection, outcome: Settled) -> None:
    task_id = make_task(conn, status="processing", unique_key="k")
    before = task_row(conn, task_id)
    stranger = dataclasses.replace(held(conn, task_id), lease=uuid.uuid4())
    assert settle(conn, (stranger, outcome)) == []
    assert task_row(conn, task_id) == before
    assert (key_holder(conn, "k"), counts(conn)) == (task_id, {})


def test_a_retry_goes_back_as_many_seconds_later_as_asked(conn: psycopg.Connection) -> None:
    task_id = make_task(conn, status="processing", due=-60)
    before = clock(conn)
    row = settle_one(conn, task_id, status="pending", after=30.0, error="boom", traceback="where")
    assert before + timedelta(seconds=30) <= row.scheduled_at <= clock(conn) + timedelta(seconds=30)
    assert (row.status, row.lease, row.attempts, row.completed_at) == ("pending", None, 1, None)
    assert (row.last_error, row.traceback) == ("boom", "where")
    assert counts(conn) == {"retried": 1}


def test_a_task_that_goes_back_to_a_moment_is_due_then(conn: psycopg.Connection) -> None:
    task_id = make_task(conn, status="processing")
    moment = clock(conn) + timedelta(hours=3)
    row = settle_one(conn, task_id, status="pending", due=moment, refund=1)
    assert (row.scheduled_at, row.attempts) == (moment, 0)


def test_a_moment_in_the_past_is_taken_as_now(conn: psycopg.Connection) -> None:
    task_id = make_task(conn, status="processing")
    before = clock(conn)
    row = settle_one(conn, task_id, status="pending", due=before - timedelta(days=2), refund=1)
    assert before <= row.scheduled_at <= clock(conn)


def test_a_task_handed_back_keeps_its_place_and_its_attempt_is_refunded(conn: psycopg.Connection) -> None:
    task_id = make_task(conn, status="processing", due=-600, attempts=3)
    place = task_row(conn, task_id).scheduled_at
    row = settle_one(conn, task_id, status="pending", refund=1)
    assert (row.status, row.scheduled_at, row.attempts) == ("pending", place, 2)
    assert counts(conn) == {}


@pytest.mark.parametrize("status", ENDS)
def test_a_task_that_ends_keeps_its_due_time_and_says_why_it_ended(conn: psycopg.Connection, status: str) -> None:
    task_id = make_task(conn, status="processing", due=-600)
    place = task_row(conn, task_id).scheduled_at
    row = settle_one(conn, task_id, status=status, error="why", traceback="where")
    assert (row.status, row.scheduled_at, row.lease) == (status, place, None)
    assert (row.last_error, row.traceback) == ("why", "where")
    assert row.completed_at is not None
    assert counts(conn) == {status: 1}


@pytest.mark.parametrize("status", ENDS)
def test_the_unique_key_is_freed_when_the_task_ends(conn: psycopg.Connection, status: str) -> None:
    task_id = make_task(conn, status="processing", unique_key="k")
    settle_one(conn, task_id, status=status)
    assert key_holder(conn, "k") is None


def test_the_unique_key_stays_while_the_task_is_tried_again(conn: psycopg.Connection) -> None:
    task_id = make_task(conn, status="processing", unique_key="k")
    settle_one(conn, task_id, status="pending", after=5.0, error="e")
    assert key_holder(conn, "k") == task_id


def test_a_unique_key_that_another_task_took_over_stays_with_it(conn: psycopg.Connection) -> None:
    task_id = make_task(conn, status="processing", unique_key="k")
    conn.execute("update pgq.unique_keys set task_id = 99 where key = 'k'")
    settle_one(conn, task_id, status="dead")
    assert key_holder(conn, "k") == 99


@pytest.mark.parametrize("outcome", [{"after": 60.0, "error": "e"}, {"refund": 1}])
def test_a_task_that_was_asked_to_stop_ends_as_cancelled_instead_of_going_back(
    conn: psycopg.Connection, outcome: Settled
) -> None:
    task_id = make_task(conn, status="processing", unique_key="k", cancel_requested=True)
    row = settle_one(conn, task_id, status="pending", **outcome)
    assert (row.status, row.lease) == ("cancelled", None)
    assert row.completed_at is not None
    assert key_holder(conn, "k") is None
    assert counts(conn) == {"cancelled": 1}


def test_a_task_that_was_asked_to_stop_but_died_first_is_dead(conn: psycopg.Connection) -> None:
    task_id = make_task(conn, status="processing", cancel_requested=True)
    assert settle_one(conn, task_id, status="dead", error="e").status == "dead"


def test_a_row_moves_to_the_partition_of_its_new_due_time_and_can_be_settled_there(conn: psycopg.Connection) -> None:
    today, tomorrow = make_day(conn, 0), make_day(conn, 1)
    task_id = make_task(conn, status="processing")
    assert task_row(conn, task_id).leaf == f"pgq.{today}"
    row = settle_one(conn, task_id, status="pending", after=86_400.0, error="e")
    assert row.leaf == f"pgq.{tomorrow}"


def test_a_row_due_beyond_the_last_partition_waits_in_the_default_one(conn: psycopg.Connection) -> None:
    task_id = make_task(conn, status="processing")
    assert settle_one(conn, task_id, status="pending", after=86_400.0 * 400, error="e").leaf == "pgq.tasks_default"


def test_an_outcome_without_an_error_leaves_the_last_error_as_it_is(conn: psycopg.Connection) -> None:
    task_id = make_task(conn, status="processing", last_error="before", traceback="there")
    row = settle_one(conn, task_id, status="pending", refund=1)
    assert (row.last_error, row.traceback) == ("before", "there")


def test_an_error_without_a_traceback_does_not_keep_an_older_one(conn: psycopg.Connection) -> None:
    task_id = make_task(conn, status="processing", last_error="before", traceback="there")
    row = settle_one(conn, task_id, status="pending", after=1.0, error="now")
    assert (row.last_error, row.traceback) == ("now", None)


def test_a_batch_of_mixed_outcomes_is_one_statement_and_each_row_gets_its_own(conn: psycopg.Connection) -> None:
    outcomes = {
        make_task(conn, status="processing"): Settled("pending", after=10.0, error="a"),
        make_task(conn, status="processing"): Settled("pending", refund=1),
        make_task(conn, status="processing"): Settled("dead", error="b"),
        make_task(conn, status="processing"): Settled("failed", error="c"),
        make_task(conn, status="processing"): Settled("cancelled"),
    }
    moved = settle(conn, *((held(conn, task_id), outcome) for task_id, outcome in outcomes.items()))
    assert sorted(moved) == sorted(outcomes)
    assert {task_id: task_row(conn, task_id).status for task_id in outcomes} == {
        task_id: outcome.status for task_id, outcome in outcomes.items()
    }
    assert counts(conn) == {"retried": 1, "dead": 1, "failed": 1, "cancelled": 1}


def test_a_batch_without_anything_to_count_writes_no_count(conn: psycopg.Connection) -> None:
    task_id = make_task(conn, status="processing")
    settle_one(conn, task_id, status="pending", refund=1)
    assert conn.execute("select count(*) from pgq.counts").fetchone() == (0,)
