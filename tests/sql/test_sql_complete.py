"""complete, forget: successful runs, fenced by lease."""

from __future__ import annotations

import dataclasses
import uuid
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from factory import clock, counts, held, key_holder, make_task, make_tasks, task_row
from stages import complete


def test_a_completed_task_keeps_its_row_and_lets_go_of_its_lease(conn: psycopg.Connection) -> None:
    task_id = make_task(conn, status="processing", last_error="earlier")
    before = clock(conn)
    assert complete(conn, held(conn, task_id)) == [task_id]
    row = task_row(conn, task_id)
    assert (row.status, row.lease, row.attempts) == ("completed", None, 1)
    assert before <= row.completed_at <= clock(conn)


def test_a_forgotten_task_is_gone(conn: psycopg.Connection) -> None:
    task_id = make_task(conn, status="processing")
    assert complete(conn, held(conn, task_id), forget=True) == [task_id]
    assert task_row(conn, task_id) is None


@pytest.mark.parametrize("forget", [False, True])
def test_only_the_lease_that_holds_the_task_may_complete_it(conn: psycopg.Connection, forget: bool) -> None:
    task_id = make_task(conn, status="processing", unique_key="k")
    stranger = dataclasses.replace(held(conn, task_id), lease=uuid.uuid4())
    before = task_row(conn, task_id)
    assert complete(conn, stranger, forget=forget) == []
    assert task_row(conn, task_id) == before
    assert key_holder(conn, "k") == task_id
    assert counts(conn) == {}


@pytest.mark.parametrize("forget", [False, True])
@pytest.mark.parametrize("change", [{"queue": "other"}, {"id": -1}, {"scheduled_at": timedelta(microseconds=1)}])
def test_queue_id_and_due_time_must_all_be_those_of_the_lease(
    conn: psycopg.Connection, forget: bool, change: dict[str, Any]
) -> None:
    task = held(conn, make_task(conn, status="processing"))
    if "scheduled_at" in change:
        change = {"scheduled_at": task.scheduled_at + change["scheduled_at"]}
    assert complete(conn, dataclasses.replace(task, **change), forget=forget) == []


@pytest.mark.parametrize("forget", [False, True])
def test_of_a_batch_only_what_is_still_ours_moves(conn: psycopg.Connection, forget: bool) -> None:
    ours = make_tasks(conn, 3, status="processing")
    lost = make_tasks(conn, 2, status="processing")
    tasks = [held(conn, task_id) for task_id in ours]
    tasks += [dataclasses.replace(held(conn, task_id), lease=uuid.uuid4()) for task_id in lost]
    assert sorted(complete(conn, *tasks, forget=forget)) == ours
    assert {task_row(conn, task_id).status for task_id in lost} == {"processing"}
    assert counts(conn) == {"completed": 3}


@pytest.mark.parametrize("forget", [False, True])
def test_completing_twice_records_once(conn: psycopg.Connection, forget: bool) -> None:
    task = held(conn, make_task(conn, status="processing"))
    assert complete(conn, task, forget=forget) == [task.id]
    assert complete(conn, task, forget=forget) == []
    assert counts(conn) == {"completed": 1}


@pytest.mark.parametrize("forget", [False, True])
def test_the_unique_key_is_freed_when_the_task_ends(conn: psycopg.Connection, forget: bool) -> None:
    other = make_task(conn, unique_key="other")
    task_id = make_task(conn, status="processing", unique_key="mine")
    complete(conn, held(conn, task_id), forget=forget)
    assert (key_holder(conn, "mine"), key_holder(conn, "other")) == (None, other)


@pytest.mark.parametrize("forget", [False, True])
def test_a_unique_key_that_another_task_took_over_stays_with_it(conn: psycopg.Connection, forget: bool) -> None:
    task_id = make_task(conn, status="processing", unique_key="k")
    conn.execute("update pgq.unique_keys set task_id = 99 where key = 'k'")
    complete(conn, held(conn, task_id), forget=forget)
    assert key_holder(conn, "k") == 99


@pytest.mark.parametrize("forget", [False, True])
def test_the_same_key_of_another_queue_is_not_touched(conn: psycopg.Connection, forget: bool) -> None:
    other = make_task(conn, unique_key="k", queue="other")
    task_id = make_task(conn, status="processing", unique_key="k")
    complete(conn, held(conn, task_id), forget=forget)
    assert key_holder(conn, "k", "other") == other


def test_a_run_that_succeeded_although_it_was_asked_to_stop_is_completed(conn: psycopg.Connection) -> None:
    task_id = make_task(conn, status="processing", cancel_requested=True)
    assert complete(conn, held(conn, task_id)) == [task_id]
    assert task_row(conn, task_id).status == "completed"
