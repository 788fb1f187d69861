"""begin: what may start says so under its lease, and a run that waited for its process gets its time anew."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
from factory import clock, held, make_task, make_tasks, task_row
from stages import begin


def test_it_marks_those_that_are_suspect_and_changes_nothing_else(conn: psycopg.Connection) -> None:
    task_id = make_task(conn, status="processing")
    before = task_row(conn, task_id)
    assert begin(conn, held(conn, task_id)) == [task_id]
    assert task_row(conn, task_id) == before._replace(suspect=True)


def test_many_are_marked_at_once(conn: psycopg.Connection) -> None:
    made = make_tasks(conn, 30, status="processing")
    assert sorted(begin(conn, *(held(conn, task_id) for task_id in made))) == made
    assert conn.execute("select bool_and(suspect) from pgq.tasks").fetchone() == (True,)


def test_one_that_is_not_suspect_may_begin_and_what_was_suspect_stays_so(conn: psycopg.Connection) -> None:
    plain, suspect = make_task(conn, status="processing"), make_task(conn, status="processing", suspect=True)
    assert begin(conn, held(conn, plain), held(conn, suspect), suspect=False) == [plain, suspect]
    assert [task_row(conn, task_id).suspect for task_id in (plain, suspect)] == [False, True]


def test_without_its_lease_a_run_may_not_begin(conn: psycopg.Connection) -> None:
    task_id = make_task(conn, status="processing")
    assert begin(conn, replace(held(conn, task_id), lease=uuid.uuid4())) == []
    assert task_row(conn, task_id).suspect is False


def test_a_run_that_was_asked_to_stop_may_not_begin(conn: psycopg.Connection) -> None:
    assert begin(conn, held(conn, make_task(conn, status="processing", cancel_requested=True))) == []


def test_of_another_queue_nothing_is_marked(conn: psycopg.Connection) -> None:
    task = held(conn, make_task(conn, queue="other", status="processing"))
    make_task(conn)
    assert begin(conn, replace(task, queue="jobs")) == []


def test_saying_it_twice_does_no_harm(conn: psycopg.Connection) -> None:
    task = held(conn, make_task(conn, status="processing"))
    assert begin(conn, task) == begin(conn, task) == [task.id]


@pytest.mark.parametrize(("waited", "anew"), [(0.5, False), (30, True)])
def test_the_time_of_a_run_that_waited_for_its_process_counts_from_now(
    conn: psycopg.Connection, waited: float, anew: bool
) -> None:
    task_id = make_task(conn, status="processing", running_for=waited)
    started_at, before = task_row(conn, task_id).started_at, clock(conn)
    begin(conn, held(conn, task_id), suspect=False, late=5.0)
    found = task_row(conn, task_id).started_at
    assert before <= found <= before + timedelta(seconds=10) if anew else found == started_at
