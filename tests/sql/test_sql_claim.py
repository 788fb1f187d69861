"""claim: which rows become ours, in which order, and what is written on them."""

from __future__ import annotations

import uuid
from datetime import timedelta

import psycopg
import pytest
from factory import clock, make_day, make_queue, make_task, make_tasks, make_worker, task_row
from stages import claim

from pgq.cursor import PRIORITIES


@pytest.fixture
def worker(conn: psycopg.Connection) -> int:
    return make_worker(conn)


def ids(tasks: list) -> list[int]:
    return [task.id for task in tasks]


def test_the_order_is_priority_then_due_time_then_id(conn: psycopg.Connection, worker: int) -> None:
    late = make_task(conn, priority=3, due=-1)
    twins = [make_task(conn, priority=3, scheduled_at=clock(conn) - timedelta(seconds=9)) for _ in range(2)]
    first = make_task(conn, priority=0, due=-0.1)
    last = make_task(conn, priority=10, due=-3600)
    expected = [first, *twins, late, last]
    assert [ids(claim(conn, worker, count=1)) for _ in expected] == [[one] for one in expected]


def test_rows_due_at_the_same_moment_go_by_id(conn: psycopg.Connection, worker: int) -> None:
    moment = clock(conn) - timedelta(seconds=5)
    made = [make_task(conn, scheduled_at=moment) for _ in range(5)]
    assert [claim(conn, worker, count=1)[0].id for _ in made] == made


def test_the_best_rows_of_all_partitions_are_taken(conn: psycopg.Connection, worker: int) -> None:
    make_day(conn, -1)
    today = make_task(conn, priority=4, due=-1)
    yesterday = make_task(conn, priority=5, scheduled_at=clock(conn) - timedelta(days=1))
    long_ago = make_task(conn, priority=5, scheduled_at=clock(conn) - timedelta(days=40))
    assert ids(claim(conn, worker, count=2)) == [today, long_ago]
    assert ids(claim(conn, worker, count=2)) == [yesterday]


def test_rows_due_later_are_not_taken(conn: psycopg.Connection, worker: int) -> None:
    make_task(conn, priority=0, due=60)
    ripe = make_task(conn, priority=9, due=-1)
    assert ids(claim(conn, worker)) == [ripe]


def test_a_row_is_due_from_its_very_moment_on(conn: psycopg.Connection, worker: int) -> None:
    moment = clock(conn) + timedelta(hours=1)
    task = make_task(conn, scheduled_at=moment)
    assert claim(conn, worker, now=moment - timedelta(microseconds=1)) == []
    assert ids(claim(conn, worker, now=moment)) == [task]


def test_only_known_task_names_are_taken(conn: psycopg.Connection, worker: int) -> None:
    make_task(conn, task="unknown", due=-9)
    known = make_task(conn, task="known", due=-1)
    assert ids(claim(conn, worker, tasks=["known", "other"])) == [known]


def test_other_queues_are_left_alone(conn: psycopg.Connection, worker: int) -> None:
    make_task(conn, queue="other")
    assert claim(conn, worker, queue="jobs") == []


@pytest.mark.parametrize("status", ["processing", "completed", "failed", "dead", "cancelled"])
def test_only_pending_rows_are_taken(conn: psycopg.Connection, worker: int, status: str) -> None:
    make_task(conn, status=status, due=-5)
    assert claim(conn, worker) == []


def test_a_paused_queue_gives_nothing_until_it_is_resumed(conn: psycopg.Connection, worker: int) -> None:
    task = make_task(conn)
    conn.execute("select pgq.pause('jobs')")
    assert claim(conn, worker) == []
    conn.execute("select pgq.resume('jobs')")
    assert ids(claim(conn, worker)) == [task]


def test_a_queue_that_is_not_declared_gives_nothing(conn: psycopg.Connection, worker: int) -> None:
    task = make_task(conn)
    conn.execute("delete from pgq.queues")
    assert claim(conn, worker) == []
    make_queue(conn)
    assert ids(claim(conn, worker)) == [task]


def test_a_worker_that_is_not_registered_gets_nothing(conn: psycopg.Connection) -> None:
    task = make_task(conn)
    assert claim(conn, 4711) == []
    assert task_row(conn, task).status == "pending"


def test_rows_locked_by_others_are_skipped_and_their_neighbours_taken(
    conn: psycopg.Connection, worker: int, dsn: str
) -> None:
    locked, free = make_tasks(conn, 2, due=-1)
    with psycopg.connect(dsn) as other:
        other.execute("select from pgq.tasks where id = %s for update", (locked,))
        assert ids(claim(conn, worker)) == [free]
    assert ids(claim(conn, worker)) == [locked]


def test_rows_below_the_floor_of_their_priority_are_stepped_over(conn: psycopg.Connection, worker: int) -> None:
    below = make_task(conn, priority=5, due=-60)
    above = make_task(conn, priority=5, due=-10)
    urgent = make_task(conn, priority=4, due=-60)
    floors = [clock(conn) - timedelta(seconds=30 if priority == 5 else 3600) for priority in PRIORITIES]
    assert ids(claim(conn, worker, floors=floors)) == [urgent, above]
    assert ids(claim(conn, worker)) == [below]


def test_a_row_at_the_floor_is_taken(conn: psycopg.Connection, worker: int) -> None:
    moment = clock(conn) - timedelta(seconds=30)
    task = make_task(conn, scheduled_at=moment)
    assert ids(claim(conn, worker, floors=[moment] * len(PRIORITIES))) == [task]


@pytest.mark.parametrize("count", [0, 1, 3, 7])
def test_no_more_rows_than_asked_are_taken_or_locked(
    conn: psycopg.Connection, worker: int, dsn: str, count: int
) -> None:
    made = make_tasks(conn, 5, due=-1)
    made += make_tasks(conn, 5, due=-1, priority=6)
    with psycopg.connect(dsn) as other:
        taken = claim(other, worker, count=count)
        free = conn.execute("select id from pgq.tasks where status = 'pending' for update skip locked").fetchall()
        assert len(taken) == count
        assert len(free) == len(made) - count


def test_the_claim_counts_the_attempt_and_writes_who_holds_the_row_since_when(
    conn: psycopg.Connection, worker: int
) -> None:
    before = clock(conn)
    task_id = make_task(conn, attempts=2, payload='{"a": 1}')
    lease = uuid.uuid4()
    (task,) = claim(conn, worker, lease=lease)
    row = task_row(conn, task_id)
    assert (row.status, row.attempts, row.worker_id, row.lease) == ("processing", 3, worker, lease)
    assert before <= row.started_at <= clock(conn)
    assert (task.attempts, task.lease, task.payload) == (3, lease, {"a": 1})


def test_what_the_claim_returns_is_the_row(conn: psycopg.Connection, worker: int) -> None:
    task_id = make_task(conn, timeout=7.5, max_attempts=3, crashes=2, priority=1)
    (task,) = claim(conn, worker)
    row = task_row(conn, task_id)
    returned = ("id", "scheduled_at", "task", "priority", "payload", "max_attempts", "timeout", "crashes", "created_at")
    assert {name: getattr(task, name) for name in returned} == {name: getattr(row, name) for name in returned}


def test_a_claim_that_is_rolled_back_leaves_the_row_as_it_was(conn: psycopg.Connection, worker: int, dsn: str) -> None:
    task_id = make_task(conn)
    before = task_row(conn, task_id)
    with psycopg.connect(dsn) as other:
        assert ids(claim(other, worker)) == [task_id]
        other.rollback()
    assert task_row(conn, task_id) == before
