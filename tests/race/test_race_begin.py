"""A run that says it begins, against whoever takes its task away or wants it to stop, in both orders."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from factory import held, make_task, make_tasks, make_worker, task_row
from interleave import behind, between_snapshot_and_locks
from stages import begin, claim, complete, recover, settle

from pgq.task import Settled


@pytest.fixture
def last(conn: psycopg.Connection) -> Any:
    """Return a task on its last attempt whose worker is gone."""
    gone = make_worker(conn, silent_for=99, lease=0.2)
    return held(conn, make_task(conn, status="processing", attempts=1, max_attempts=1, worker_id=gone))


def test_after_a_recovery_under_way_a_run_does_not_begin(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection, last: Any
) -> None:
    assert recover(ann) == {last.id: "pending"}
    with behind(conn, bob, lambda: begin(bob, last)) as begun:
        ann.commit()
    assert begun.result() == []
    bob.commit()
    row = task_row(conn, last.id)
    assert (row.status, row.attempts, row.suspect) == ("pending", 0, False)


def test_after_a_recovery_that_was_rolled_back_it_does(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection, last: Any
) -> None:
    recover(ann)
    with behind(conn, bob, lambda: begin(bob, last)) as begun:
        ann.rollback()
    assert begun.result() == [last.id]


def test_recovery_skips_a_run_that_is_just_beginning_and_then_buries_it(
    conn: psycopg.Connection, ann: psycopg.Connection, last: Any
) -> None:
    assert begin(ann, last) == [last.id]
    assert recover(conn) == {}
    ann.commit()
    assert recover(conn) == {last.id: "dead"}


def test_recovery_that_saw_a_task_before_it_began_buries_it_all_the_same(
    conn: psycopg.Connection, ann: psycopg.Connection, last: Any
) -> None:
    with between_snapshot_and_locks(conn, ann, lambda: recover(ann)) as recovered:
        assert begin(conn, last) == [last.id]
    assert recovered.result() == {last.id: "dead"}
    ann.commit()
    assert task_row(conn, last.id).attempts == 1


def test_a_run_that_lost_its_lease_does_not_begin_beside_the_one_that_has_it(conn: psycopg.Connection) -> None:
    late, quick = make_worker(conn, lease=0.2), make_worker(conn)
    make_task(conn, max_attempts=1)
    (lost,) = claim(conn, late)
    conn.execute("update pgq.workers set heartbeat_at = '-infinity' where id = %s", (late,))
    assert recover(conn) == {lost.id: "pending"}
    (ours,) = claim(conn, quick)
    assert (ours.attempts, ours.crashes) == (1, 1)
    assert begin(conn, lost) == []
    assert task_row(conn, lost.id).suspect is False
    assert begin(conn, ours) == [ours.id]


def test_after_a_cancellation_under_way_a_run_does_not_begin_and_ends_as_cancelled(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection, last: Any
) -> None:
    ann.execute("select pgq.cancel(%s)", (last.id,))
    with behind(conn, bob, lambda: begin(bob, last)) as begun:
        ann.commit()
    assert begun.result() == []
    bob.commit()
    settle(conn, (last, Settled("pending", refund=1)))
    assert task_row(conn, last.id).status == "cancelled"


def test_a_cancellation_after_a_begin_under_way_asks_the_run_to_stop(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection, last: Any
) -> None:
    begin(ann, last)
    with behind(conn, bob, lambda: bob.execute("select pgq.cancel(%s)", (last.id,)).fetchone()) as cancelled:
        ann.commit()
    assert cancelled.result() == ("requested",)


def test_a_batch_that_begins_and_one_that_ends_wait_in_the_same_order(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection
) -> None:
    tasks = [held(conn, task_id) for task_id in make_tasks(conn, 20, status="processing", due=-1)]
    assert len(complete(ann, *tasks[:10])) == 10
    with behind(conn, bob, lambda: begin(bob, *tasks)) as begun:
        ann.commit()
    assert sorted(begun.result()) == [task.id for task in tasks[10:]]
