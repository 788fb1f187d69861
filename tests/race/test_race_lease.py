"""Leases: a run that lost its task records nothing; nobody holds a task twice."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from factory import counts, held, key_holder, make_task, make_tasks, make_worker, task_row
from interleave import behind, between_snapshot_and_locks
from pooler import UNPREPARED
from stages import claim, complete, keys, recover, settle

from pgq.db import Call, run
from pgq.task import Settled, Task

OUTCOMES = [
    Settled("completed"),
    Settled("pending", after=9.0, error="e"),
    Settled("dead"),
    Settled("pending", refund=1),
]


def record(conn: psycopg.Connection, task: Task, outcome: Settled) -> Any:
    return complete(conn, task) if outcome.status == "completed" else settle(conn, (task, outcome))


@pytest.mark.parametrize("outcome", OUTCOMES, ids=str)
def test_a_worker_that_lost_its_lease_records_nothing_and_is_told(conn: psycopg.Connection, outcome: Settled) -> None:
    late, quick = make_worker(conn, lease=0.2), make_worker(conn)
    make_task(conn, unique_key="k")
    (lost,) = claim(conn, late)
    conn.execute("update pgq.workers set heartbeat_at = '-infinity' where id = %s", (late,))
    assert recover(conn) == {lost.id: "pending"}
    (ours,) = claim(conn, quick)
    before = task_row(conn, lost.id)
    assert record(conn, lost, outcome) == []
    assert run(conn, Call("glance", keys([lost]))) == []
    assert task_row(conn, lost.id) == before
    assert (key_holder(conn, "k"), counts(conn)) == (ours.id, {"retried": 1})
    assert complete(conn, ours) == [ours.id]


def test_rows_of_a_claim_that_has_not_committed_are_nobody_elses(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection
) -> None:
    worker = make_worker(conn)
    made = make_tasks(conn, 6)
    first, second = claim(ann, worker, count=4), claim(bob, worker, count=4)
    assert sorted(task.id for task in [*first, *second]) == made
    assert len(first) == 4


def test_many_workers_at_once_never_hold_the_same_task(conn: psycopg.Connection, dsn: str) -> Any:
    worker = make_worker(conn)
    make_task(conn)
    conn.execute(
        "insert into pgq.tasks (queue, task, timeout, max_attempts, priority)"
        " select 'jobs', 'work', 60, 5, n % 11 from generate_series(1, 999) as n"
    )

    def drain(_: Any) -> Any:
        taken = []
        with psycopg.connect(dsn, autocommit=True, prepare_threshold=UNPREPARED) as mine:
            while found := claim(mine, worker, count=17):
                taken += [task.id for task in found]
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = Counter(task_id for part in pool.map(drain, range(4)) for task_id in part)
    assert (len(taken), set(taken.values())) == (1000, {1})


@pytest.mark.parametrize("outcome", OUTCOMES, ids=str)
def test_recovery_skips_a_row_that_is_being_settled(
    conn: psycopg.Connection, ann: psycopg.Connection, outcome: Settled
) -> None:
    task_id = make_task(conn, status="processing", worker_id=4711)
    assert record(ann, held(conn, task_id), outcome) == [task_id]
    assert recover(conn) == {}
    ann.commit()
    assert task_row(conn, task_id).status == outcome.status
    assert recover(conn) == {}


@pytest.mark.parametrize("outcome", OUTCOMES, ids=str)
def test_a_settle_that_waited_for_recovery_records_nothing(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection, outcome: Settled
) -> None:
    task_id = make_task(conn, status="processing", worker_id=4711)
    task = held(conn, task_id)
    assert recover(ann) == {task_id: "pending"}
    with behind(conn, bob, lambda: record(bob, task, outcome)) as settled:
        ann.commit()
    assert settled.result() == []
    bob.commit()
    assert task_row(conn, task_id).status == "pending"
    assert counts(conn) == {"retried": 1}


def test_recovery_that_was_rolled_back_leaves_the_task_to_its_worker(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection
) -> None:
    task_id = make_task(conn, status="processing", worker_id=4711)
    task = held(conn, task_id)
    recover(ann)
    with behind(conn, bob, lambda: complete(bob, task)) as settled:
        ann.rollback()
    assert settled.result() == [task_id]


def test_recovery_leaves_a_task_alone_that_a_living_worker_claimed_meanwhile(
    conn: psycopg.Connection, ann: psycopg.Connection
) -> None:
    dead, living = make_worker(conn, silent_for=99, lease=0.2), make_worker(conn)
    first, second = (make_task(conn, status="processing", worker_id=dead, due=due) for due in (-2, -1))
    with between_snapshot_and_locks(conn, ann, lambda: recover(ann)) as recovered:
        assert settle(conn, (held(conn, second), Settled("pending", refund=1))) == [second]
        (ours,) = claim(conn, living)
    assert recovered.result() == {first: "pending"}
    ann.commit()
    assert complete(conn, ours) == [second]


def test_recovery_leaves_a_task_alone_that_its_worker_settled_meanwhile(
    conn: psycopg.Connection, ann: psycopg.Connection
) -> None:
    task_id = make_task(conn, status="processing", worker_id=make_worker(conn, silent_for=99, lease=0.2))
    with between_snapshot_and_locks(conn, ann, lambda: recover(ann)) as recovered:
        assert complete(conn, held(conn, task_id)) == [task_id]
    assert recovered.result() == {}


def test_a_claim_goes_on_behind_rows_that_were_taken_meanwhile(
    conn: psycopg.Connection, ann: psycopg.Connection
) -> None:
    worker = make_worker(conn)
    made = [make_task(conn, priority=number % 11) for number in range(60)]
    taken = [task_id for place, task_id in enumerate(made) if place % 11 < 4]
    with between_snapshot_and_locks(conn, ann, lambda: claim(ann, worker, count=17)) as claimed:
        conn.execute("update pgq.tasks set status = 'processing' where id = any(%s)", (taken,))
    left = sorted(set(made) - set(taken), key=lambda task_id: ((task_id - made[0]) % 11, task_id))
    assert [task.id for task in claimed.result()] == left[:17]


def test_a_row_that_was_changed_meanwhile_but_still_waits_is_claimed_as_it_is_now(
    conn: psycopg.Connection, ann: psycopg.Connection
) -> None:
    worker, task_id = make_worker(conn), make_task(conn, payload='{"old": 1}')
    with between_snapshot_and_locks(conn, ann, lambda: claim(ann, worker)) as claimed:
        conn.execute("""update pgq.tasks set payload = '{"new": 1}'""")
    assert [(task.id, task.payload) for task in claimed.result()] == [(task_id, {"new": 1})]


def test_a_worker_whose_row_is_being_pruned_holds_what_it_claims_only_until_the_next_recovery(
    conn: psycopg.Connection, ann: psycopg.Connection
) -> None:
    worker = make_worker(conn, silent_for=99, lease=0.2)
    task_id = make_task(conn)
    assert len(run(ann, Call("prune_workers", {}))) == 1
    (task,) = claim(conn, worker)
    ann.commit()
    assert claim(conn, worker) == []
    assert recover(conn) == {task_id: "pending"}
    assert complete(conn, task) == []


def test_a_worker_whose_row_was_pruned_claims_nothing(conn: psycopg.Connection) -> None:
    worker = make_worker(conn, silent_for=99, lease=0.2)
    make_task(conn)
    run(conn, Call("prune_workers", {}))
    assert claim(conn, worker) == []


def test_pruning_waits_for_a_heartbeat_under_way_and_then_spares_the_worker(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection
) -> None:
    worker = make_worker(conn, silent_for=99, lease=0.2)
    run(ann, Call("heartbeat", {"id": worker, "running": 0, "stopping": False}))
    with behind(conn, bob, lambda: run(bob, Call("prune_workers", {}))) as pruned:
        ann.commit()
    assert pruned.result() == []


def test_two_batches_that_hold_the_same_rows_wait_in_the_same_order(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection
) -> None:
    tasks = [held(conn, task_id) for task_id in make_tasks(conn, 20, status="processing", due=-1)]
    assert len(complete(ann, *tasks[:10])) == 10
    with behind(conn, bob, lambda: settle(bob, *((task, Settled("dead")) for task in tasks))) as settled:
        ann.commit()
    assert sorted(settled.result()) == [task.id for task in tasks[10:]]
