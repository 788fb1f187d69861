"""One unique key, two transactions: the winner commits, or rolls back, or ends meanwhile."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from factory import QUEUE, held, key_holder, make_queue, make_task, make_worker, task_row
from interleave import behind
from stages import claim, complete, settle

from pgq.db import run
from pgq.enqueue import one
from pgq.errors import UniqueKeyTaken
from pgq.options import Options
from pgq.task import Settled

CONFLICTS = ["raise", "skip", "replace", "return_existing"]


def enqueue(conn: psycopg.Connection, payload: str = "{}", on_conflict: str = "raise", queue: str = QUEUE) -> Any:
    ((task_id,),) = run(conn, one(queue, "work", payload, Options(unique_key="k", on_conflict=on_conflict)))
    return task_id


@pytest.fixture(autouse=True)
def queue(conn: psycopg.Connection) -> None:
    make_queue(conn)


@pytest.mark.parametrize("on_conflict", CONFLICTS)
def test_when_the_winner_commits_the_other_sees_it_hold_the_key(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection, on_conflict: str
) -> None:
    winner = enqueue(ann, '{"n": 1}')
    with behind(conn, bob, lambda: enqueue(bob, '{"n": 2}', on_conflict)) as second:
        ann.commit()
    if on_conflict == "raise":
        with pytest.raises(UniqueKeyTaken, match=f"held by task {winner}"):
            second.result()
        bob.rollback()
    else:
        assert second.result() == (None if on_conflict == "skip" else winner)
        bob.commit()
    assert conn.execute("select id from pgq.tasks").fetchall() == [(winner,)]
    assert task_row(conn, winner).payload == {"n": 2 if on_conflict == "replace" else 1}


@pytest.mark.parametrize("on_conflict", CONFLICTS)
def test_when_the_winner_rolls_back_the_other_gets_the_key(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection, on_conflict: str
) -> None:
    enqueue(ann)
    with behind(conn, bob, lambda: enqueue(bob, on_conflict=on_conflict)) as second:
        ann.rollback()
    bob.commit()
    assert key_holder(conn, "k") == second.result()
    assert conn.execute("select id from pgq.tasks").fetchall() == [(second.result(),)]


@pytest.mark.parametrize("on_conflict", CONFLICTS)
@pytest.mark.parametrize("outcome", [Settled("completed"), Settled("dead", error="e")], ids=str)
def test_a_key_that_is_being_freed_is_waited_for_and_taken(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection, on_conflict: str, outcome: Settled
) -> None:
    task = held(conn, make_task(conn, status="processing", unique_key="k"))
    complete(ann, task) if outcome.status == "completed" else settle(ann, (task, outcome))
    with behind(conn, bob, lambda: enqueue(bob, on_conflict=on_conflict)) as second:
        ann.commit()
    bob.commit()
    assert second.result() != task.id
    assert key_holder(conn, "k") == second.result()


def test_replace_waits_for_a_claim_under_way_and_runs_after_it(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection
) -> None:
    worker, old = make_worker(conn), make_task(conn, unique_key="k", payload='{"n": 1}')
    assert len(claim(ann, worker)) == 1
    with behind(conn, bob, lambda: enqueue(bob, '{"n": 2}', "replace")) as replaced:
        ann.commit()
    bob.commit()
    new = replaced.result()
    assert new != old
    assert (task_row(conn, old).payload, task_row(conn, new).payload) == ({"n": 1}, {"n": 2})
    assert complete(conn, held(conn, old)) == [old]
    assert key_holder(conn, "k") == new


def test_replace_changes_a_task_whose_claim_was_rolled_back(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection
) -> None:
    worker, old = make_worker(conn), make_task(conn, unique_key="k", payload='{"n": 1}')
    claim(ann, worker)
    with behind(conn, bob, lambda: enqueue(bob, '{"n": 2}', "replace")) as replaced:
        ann.rollback()
    bob.commit()
    assert replaced.result() == old
    assert task_row(conn, old).payload == {"n": 2}


def test_a_task_that_is_being_replaced_is_claimed_only_with_its_new_payload(
    conn: psycopg.Connection, ann: psycopg.Connection
) -> None:
    worker, old = make_worker(conn), make_task(conn, unique_key="k", payload='{"n": 1}')
    enqueue(ann, '{"n": 2}', "replace")
    assert claim(conn, worker) == []
    ann.commit()
    assert [(task.id, task.payload) for task in claim(conn, worker)] == [(old, {"n": 2})]


def test_a_completion_that_meets_a_takeover_of_its_key_leaves_the_key_to_the_new_task(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection
) -> None:
    old = make_task(conn, status="processing", unique_key="k")
    task = held(conn, old)
    new = enqueue(ann, on_conflict="replace")
    with behind(conn, bob, lambda: complete(bob, task)) as completed:
        ann.commit()
    bob.commit()
    assert (completed.result(), key_holder(conn, "k")) == ([old], new)


def test_two_takeovers_at_once_leave_one_task_waiting(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection
) -> None:
    make_task(conn, status="processing", unique_key="k")
    first = enqueue(ann, '{"n": 1}', "replace")
    with behind(conn, bob, lambda: enqueue(bob, '{"n": 2}', "replace")) as second:
        ann.commit()
    bob.commit()
    assert second.result() == first
    waiting = conn.execute("select id, payload from pgq.tasks where status = 'pending'").fetchall()
    assert waiting == [(first, {"n": 2})]


def test_under_an_older_snapshot_a_key_taken_meanwhile_is_an_error_not_an_endless_loop(
    conn: psycopg.Connection, ann: psycopg.Connection
) -> None:
    ann.execute("set transaction isolation level repeatable read")
    ann.execute("select count(*) from pgq.tasks")
    enqueue(conn)
    ann.execute("set statement_timeout = '3s'")
    with pytest.raises((psycopg.errors.SerializationFailure, UniqueKeyTaken)):
        enqueue(ann, on_conflict="return_existing")
