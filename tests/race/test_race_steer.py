"""cancel and retry by hand against claim and settle, in both orders, within a day and across days."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from factory import clock, counts, held, key_holder, make_day, make_task, make_worker, task_row
from interleave import behind, between_snapshot_and_locks
from stages import claim, complete, settle

from pgq.task import Settled

TOMORROW = 86_400.0


def steer(conn: psycopg.Connection, function: str, task_id: int) -> Any:
    return conn.execute(f"select pgq.{function}(%s)", (task_id,)).fetchone()[0]


def yesterday(conn: psycopg.Connection) -> Any:
    make_day(conn, -1)
    return clock(conn) - timedelta(days=1)


def test_cancel_after_a_completion_under_way_finds_the_task_completed(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection
) -> None:
    task_id = make_task(conn, status="processing")
    complete(ann, held(conn, task_id))
    with behind(conn, bob, lambda: steer(bob, "cancel", task_id)) as cancelled:
        ann.commit()
    assert cancelled.result() == "completed"
    bob.commit()
    assert counts(conn) == {"completed": 1}


@pytest.mark.parametrize("after", [5.0, TOMORROW])
def test_cancel_after_a_retry_under_way_cancels_it_wherever_it_went(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection, after: float
) -> None:
    task_id = make_task(conn, status="processing", unique_key="k")
    settle(ann, (held(conn, task_id), Settled("pending", after=after, error="e")))
    with behind(conn, bob, lambda: steer(bob, "cancel", task_id)) as cancelled:
        ann.commit()
    assert cancelled.result() == "cancelled"
    bob.commit()
    assert (task_row(conn, task_id).status, key_holder(conn, "k")) == ("cancelled", None)


def test_cancel_after_a_settle_that_was_rolled_back_asks_the_running_task(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection
) -> None:
    task_id = make_task(conn, status="processing")
    settle(ann, (held(conn, task_id), Settled("pending", after=TOMORROW, error="e")))
    with behind(conn, bob, lambda: steer(bob, "cancel", task_id)) as cancelled:
        ann.rollback()
    assert cancelled.result() == "requested"


@pytest.mark.parametrize("after", [5.0, TOMORROW])
def test_a_retry_after_a_cancellation_under_way_ends_as_cancelled(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection, after: float
) -> None:
    task_id = make_task(conn, status="processing", unique_key="k")
    task = held(conn, task_id)
    assert steer(ann, "cancel", task_id) == "requested"
    outcome = Settled("pending", after=after, error="e")
    with behind(conn, bob, lambda: settle(bob, (task, outcome))) as settled:
        ann.commit()
    assert settled.result() == [task_id]
    bob.commit()
    assert (task_row(conn, task_id).status, key_holder(conn, "k")) == ("cancelled", None)
    assert counts(conn) == {"cancelled": 1}


def test_a_completion_after_a_cancellation_under_way_stands(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection
) -> None:
    task_id = make_task(conn, status="processing")
    task = held(conn, task_id)
    steer(ann, "cancel", task_id)
    with behind(conn, bob, lambda: complete(bob, task)) as completed:
        ann.commit()
    assert completed.result() == [task_id]
    bob.commit()
    assert task_row(conn, task_id).status == "completed"


def test_a_task_that_is_being_cancelled_is_not_claimed(conn: psycopg.Connection, ann: psycopg.Connection) -> None:
    worker, task_id = make_worker(conn), make_task(conn)
    steer(ann, "cancel", task_id)
    assert claim(conn, worker) == []
    ann.commit()
    assert claim(conn, worker) == []


def test_a_task_that_is_being_claimed_is_asked_to_stop(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection
) -> None:
    worker, task_id = make_worker(conn), make_task(conn)
    claim(ann, worker)
    with behind(conn, bob, lambda: steer(bob, "cancel", task_id)) as cancelled:
        ann.commit()
    assert cancelled.result() == "requested"


def test_two_cancellations_at_once_count_once(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection
) -> None:
    task_id = make_task(conn)
    assert steer(ann, "cancel", task_id) == "cancelled"
    with behind(conn, bob, lambda: steer(bob, "cancel", task_id)) as second:
        ann.commit()
    assert second.result() == "cancelled"
    bob.commit()
    assert counts(conn) == {"cancelled": 1}


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
@pytest.mark.parametrize("function", ["cancel", "retry"])
def test_under_an_older_snapshot_a_task_that_changed_is_an_error_not_an_endless_loop(
    conn: psycopg.Connection, ann: psycopg.Connection, level: str, function: str
) -> None:
    task_id = make_task(conn)
    ann.execute(f"set transaction isolation level {level}")
    ann.execute("select count(*) from pgq.tasks")
    conn.execute("update pgq.tasks set priority = 1")
    ann.execute("set statement_timeout = '3s'")
    with pytest.raises(psycopg.errors.SerializationFailure):
        steer(ann, function, task_id)


@pytest.mark.parametrize(
    "outcome", [Settled("dead", error="e"), Settled("pending", after=TOMORROW, error="e")], ids=str
)
def test_retry_by_hand_sees_a_task_that_is_being_settled_as_running_and_then_starts_it_over(
    conn: psycopg.Connection, ann: psycopg.Connection, outcome: Settled
) -> None:
    today = make_day(conn, 0)
    task_id = make_task(conn, status="processing", unique_key="k")
    settle(ann, (held(conn, task_id), outcome))
    assert steer(conn, "retry", task_id) == "processing"
    ann.commit()
    assert steer(conn, "retry", task_id) == "pending"
    row = task_row(conn, task_id)
    assert (row.status, row.leaf, key_holder(conn, "k")) == ("pending", f"pgq.{today}", task_id)


def test_two_retries_by_hand_across_days_both_succeed(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection
) -> None:
    task_id = make_task(conn, scheduled_at=yesterday(conn))
    assert steer(ann, "retry", task_id) == "pending"
    with behind(conn, bob, lambda: steer(bob, "retry", task_id)) as second:
        ann.commit()
    assert second.result() == "pending"
    bob.commit()
    assert conn.execute("select count(*) from pgq.tasks").fetchone() == (1,)


def test_settle_meets_nobody_who_moves_its_row_but_a_batch_that_does_fails_whole_with_40001(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection
) -> None:
    task_id = make_task(conn, status="processing", scheduled_at=yesterday(conn))
    other = make_task(conn, status="processing")
    tasks = [held(conn, task_id), held(conn, other)]
    ann.execute("update pgq.tasks set scheduled_at = now() where id = %s", (task_id,))
    with behind(conn, bob, lambda: complete(bob, *tasks)) as settled:
        ann.commit()
    with pytest.raises(psycopg.errors.SerializationFailure):
        settled.result()
    bob.rollback()
    assert complete(bob, *tasks) == [other]


def test_a_claim_skips_a_row_that_is_being_moved_to_another_day(
    conn: psycopg.Connection, ann: psycopg.Connection
) -> None:
    worker, task_id = make_worker(conn), make_task(conn, scheduled_at=yesterday(conn))
    steer(ann, "retry", task_id)
    assert claim(conn, worker) == []
    ann.commit()
    assert [task.id for task in claim(conn, worker)] == [task_id]


def test_a_claim_that_meets_a_row_just_moved_to_another_day_takes_nothing_and_may_be_repeated(
    conn: psycopg.Connection, ann: psycopg.Connection
) -> None:
    worker = make_worker(conn)
    task_id = make_task(conn, scheduled_at=yesterday(conn))
    with between_snapshot_and_locks(conn, ann, lambda: claim(ann, worker)) as claimed:
        steer(conn, "retry", task_id)
    with pytest.raises(psycopg.errors.SerializationFailure):
        claimed.result()
    ann.rollback()
    assert [task.id for task in claim(ann, worker)] == [task_id]


def test_a_retry_whose_key_is_being_taken_waits_and_is_refused(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection
) -> None:
    task_id = make_task(conn, status="dead", unique_key="k")
    make_task(ann, unique_key="k")
    with behind(conn, bob, lambda: steer(bob, "retry", task_id)) as retried:
        ann.commit()
    with pytest.raises(psycopg.Error, match="held by task"):
        retried.result()


def test_a_retry_whose_key_was_nearly_taken_gets_it(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection
) -> None:
    task_id = make_task(conn, status="dead", unique_key="k")
    make_task(ann, unique_key="k")
    with behind(conn, bob, lambda: steer(bob, "retry", task_id)) as retried:
        ann.rollback()
    assert retried.result() == "pending"
    bob.commit()
    assert key_holder(conn, "k") == task_id
