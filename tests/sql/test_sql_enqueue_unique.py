"""enqueue_unique: what happens to a key that is taken, for each on_conflict."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from factory import ENDED, QUEUE, clock, held, key_holder, make_queue, make_task, task_row
from stages import complete

from pgq.db import run
from pgq.enqueue import one
from pgq.errors import UniqueKeyTaken
from pgq.options import Options

CONFLICTS = ["raise", "skip", "replace", "return_existing"]


def enqueue(conn: psycopg.Connection, payload: str = "{}", *, queue: str = QUEUE, **options: Any) -> Any:
    ((task_id,),) = run(conn, one(queue, "work", payload, Options(unique_key="k", **options)))
    return task_id


@pytest.fixture(autouse=True)
def queue(conn: psycopg.Connection) -> Any:
    return make_queue(conn, timeout=7, max_attempts=3)


@pytest.mark.parametrize("on_conflict", CONFLICTS)
def test_a_free_key_is_taken_until_the_task_ends(conn: psycopg.Connection, on_conflict: str) -> None:
    task_id = enqueue(conn, on_conflict=on_conflict)
    row = task_row(conn, task_id)
    assert (key_holder(conn, "k"), row.unique_key, row.timeout, row.max_attempts) == (task_id, "k", 7, 3)


@pytest.mark.parametrize("on_conflict", CONFLICTS)
@pytest.mark.parametrize("status", sorted(ENDED))
def test_the_key_of_a_task_that_ended_is_free(conn: psycopg.Connection, on_conflict: str, status: str) -> None:
    ended = make_task(conn, status=status, unique_key="k")
    task_id = enqueue(conn, on_conflict=on_conflict)
    assert task_id != ended
    assert key_holder(conn, "k") == task_id


@pytest.mark.parametrize("on_conflict", CONFLICTS)
def test_the_same_key_in_another_queue_is_another_key(conn: psycopg.Connection, on_conflict: str) -> None:
    make_queue(conn, "other")
    first = enqueue(conn, on_conflict=on_conflict)
    second = enqueue(conn, queue="other", on_conflict=on_conflict)
    assert (key_holder(conn, "k"), key_holder(conn, "k", "other")) == (first, second)


@pytest.mark.parametrize("status", ["pending", "processing"])
def test_raise_names_key_queue_and_holder(conn: psycopg.Connection, status: str) -> None:
    holder = make_task(conn, status=status, unique_key="k")
    with pytest.raises(UniqueKeyTaken, match=f"unique_key 'k' of queue 'jobs' is held by task {holder}"):
        enqueue(conn, on_conflict="raise")
    assert conn.execute("select count(*) from pgq.tasks").fetchone() == (1,)


@pytest.mark.parametrize("status", ["pending", "processing"])
def test_skip_adds_nothing_and_returns_nothing(conn: psycopg.Connection, status: str) -> None:
    make_task(conn, status=status, unique_key="k")
    assert enqueue(conn, on_conflict="skip") is None
    assert conn.execute("select count(*) from pgq.tasks").fetchone() == (1,)


@pytest.mark.parametrize("status", ["pending", "processing"])
def test_return_existing_returns_the_holder_as_it_is(conn: psycopg.Connection, status: str) -> None:
    holder = make_task(conn, status=status, unique_key="k")
    before = task_row(conn, holder)
    assert enqueue(conn, '{"new": 1}', on_conflict="return_existing") == holder
    assert task_row(conn, holder) == before


def test_replace_changes_the_task_that_waits(conn: psycopg.Connection) -> None:
    holder = make_task(conn, unique_key="k", payload='{"old": 1}', task="other", attempts=2)
    before = clock(conn)
    options = {"priority": 1, "max_attempts": 8, "delay": 3600, "timeout": 2.0}
    assert enqueue(conn, '{"new": 1}', on_conflict="replace", **options) == holder
    row = task_row(conn, holder)
    assert (row.payload, row.task, row.priority, row.max_attempts, row.timeout) == ({"new": 1}, "work", 1, 8, 2.0)
    assert row.scheduled_at >= before + timedelta(seconds=3600)
    assert conn.execute("select count(*) from pgq.tasks").fetchone() == (1,)


def test_a_task_that_replaces_one_that_failed_is_as_a_new_task(conn: psycopg.Connection) -> None:
    spent = {"attempts": 4, "crashes": 2, "bounces": 3, "last_error": "e", "traceback": "t", "worker_id": 7}
    now = clock(conn)
    holder = make_task(
        conn, unique_key="k", started_at=now, created_at=now - timedelta(days=1), throttled_by="host:a", **spent
    )
    assert enqueue(conn, on_conflict="replace") == holder
    row = task_row(conn, holder)
    assert (row.attempts, row.crashes, row.bounces) == (0, 0, 0)
    assert (row.last_error, row.traceback, row.worker_id, row.started_at, row.throttled_by) == (None,) * 5
    assert now <= row.created_at <= row.scheduled_at + timedelta(seconds=1)


def test_replace_lets_the_new_task_run_after_a_holder_that_runs_already(conn: psycopg.Connection) -> None:
    running = make_task(conn, status="processing", unique_key="k", payload='{"old": 1}')
    task_id = enqueue(conn, '{"new": 1}', on_conflict="replace")
    assert task_id != running
    assert key_holder(conn, "k") == task_id
    assert (task_row(conn, running).payload, task_row(conn, task_id).payload) == ({"old": 1}, {"new": 1})


def test_a_holder_whose_key_was_taken_over_does_not_free_it_when_it_ends(conn: psycopg.Connection) -> None:
    running = make_task(conn, status="processing", unique_key="k")
    task_id = enqueue(conn, on_conflict="replace")
    assert complete(conn, held(conn, running)) == [running]
    assert key_holder(conn, "k") == task_id


def test_replacing_twice_behind_a_running_holder_changes_the_one_that_waits(conn: psycopg.Connection) -> None:
    make_task(conn, status="processing", unique_key="k")
    first = enqueue(conn, '{"n": 1}', on_conflict="replace")
    assert enqueue(conn, '{"n": 2}', on_conflict="replace") == first
    assert task_row(conn, first).payload == {"n": 2}


@pytest.mark.parametrize("on_conflict", CONFLICTS)
def test_a_key_and_a_due_time_go_together(conn: psycopg.Connection, on_conflict: str) -> None:
    moment = clock(conn) + timedelta(hours=1)
    task_id = enqueue(conn, scheduled_at=moment, on_conflict=on_conflict)
    assert task_row(conn, task_id).scheduled_at == moment


def test_without_a_key_every_on_conflict_adds_a_task(conn: psycopg.Connection) -> None:
    for on_conflict in CONFLICTS:
        conn.execute("select pgq.enqueue('jobs', 'work', on_conflict => %s)", (on_conflict,))
    assert conn.execute("select count(*) from pgq.tasks").fetchone() == (4,)


def test_a_key_that_was_rolled_back_is_free(conn: psycopg.Connection, dsn: str) -> None:
    with psycopg.connect(dsn) as other:
        enqueue(other)
        other.rollback()
    assert enqueue(conn, on_conflict="raise") is not None
