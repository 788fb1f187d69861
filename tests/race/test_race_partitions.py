"""Sealing and dropping days while others write to them and read from them."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from factory import clock, make_day, make_task, make_worker, task_row
from interleave import behind
from stages import claim

from pgq.upkeep import make_partitions, seal_partitions

PATIENCE = "set lock_timeout = '10s'"


def call(conn: psycopg.Connection, function: str, leaf: str) -> Any:
    return conn.execute(f"select pgq.{function}(%s)", (leaf,)).fetchone()[0]


def enqueue(conn: psycopg.Connection) -> Any:
    return conn.execute("select pgq.enqueue('jobs', 'work')").fetchone()[0]


@pytest.fixture
def old_day(conn: psycopg.Connection) -> Any:
    leaf = make_day(conn, -2)
    make_task(conn, status="completed", scheduled_at=clock(conn) - timedelta(days=2))
    return leaf


@pytest.mark.parametrize(("commits", "sealed"), [(True, False), (False, True)])
def test_sealing_waits_for_an_enqueue_in_flight_and_then_looks(
    conn: psycopg.Connection,
    ann: psycopg.Connection,
    bob: psycopg.Connection,
    old_day: str,
    commits: bool,
    sealed: bool,
) -> None:
    make_task(ann, scheduled_at=clock(ann) - timedelta(days=2))
    bob.execute(PATIENCE)
    with behind(conn, bob, lambda: call(bob, "seal_partition", old_day)) as result:
        ann.commit() if commits else ann.rollback()
    assert result.result() is sealed


def test_sealing_a_past_day_does_not_keep_an_enqueue_of_today_waiting(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection, old_day: str
) -> None:
    make_task(ann, scheduled_at=clock(ann) - timedelta(days=2))
    conn.execute("set lock_timeout = '1s'")
    bob.execute(PATIENCE)
    with behind(conn, bob, lambda: call(bob, "seal_partition", old_day)):
        assert enqueue(conn) > 0
        ann.commit()


def test_a_task_enqueued_into_a_sealed_day_by_a_late_commit_is_claimed_nevertheless(
    conn: psycopg.Connection, old_day: str
) -> None:
    assert call(conn, "seal_partition", old_day) is True
    task_id = make_task(conn, scheduled_at=clock(conn) - timedelta(days=2))
    assert [task.id for task in claim(conn, make_worker(conn))] == [task_id]


@pytest.mark.parametrize("locked", ["leaf", "table"])
def test_dropping_gives_up_behind_a_reader_and_enqueueing_goes_on(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection, old_day: str, locked: str
) -> None:
    ann.execute(f"select count(*) from pgq.{old_day}" if locked == "leaf" else "select count(*) from pgq.tasks")
    bob.execute("set lock_timeout = '300ms'")
    began = time.monotonic()
    with pytest.raises(psycopg.errors.LockNotAvailable):
        call(bob, "drop_partition", old_day)
    assert time.monotonic() - began < 3
    bob.rollback()
    conn.execute("set lock_timeout = '1s'")
    assert enqueue(conn) > 0
    ann.commit()
    assert call(bob, "drop_partition", old_day) is True


def test_dropping_succeeds_although_a_claim_lines_up_behind_it(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection, dsn: str, old_day: str
) -> None:
    worker, task_id = make_worker(conn), make_task(conn)
    ann.execute(f"select count(*) from pgq.{old_day}")
    bob.execute("set lock_timeout = '3s'")
    with psycopg.connect(dsn) as cid, behind(conn, bob, lambda: call(bob, "drop_partition", old_day)) as dropped:
        with behind(conn, cid, lambda: claim(cid, worker)) as claimed:
            ann.commit()
            assert dropped.result() is True
            bob.commit()
        assert [task.id for task in claimed.result()] == [task_id]


def test_what_a_late_commit_left_in_a_sealed_day_is_seen_under_the_lock_that_drops_it(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection, old_day: str
) -> None:
    call(conn, "seal_partition", old_day)
    task_id = make_task(ann, scheduled_at=clock(ann) - timedelta(days=2))
    bob.execute(PATIENCE)
    with behind(conn, bob, lambda: call(bob, "drop_partition", old_day)) as dropped:
        ann.commit()
    assert dropped.result() is False
    bob.rollback()
    assert task_row(conn, task_id).status == "pending"


def test_making_a_day_waits_for_an_enqueue_in_flight_into_the_default_partition(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection
) -> None:
    moment = clock(conn) + timedelta(days=30)
    task_id = make_task(ann, scheduled_at=moment)
    bob.execute(PATIENCE)
    with behind(conn, bob, lambda: make_day(bob, 30)) as made:
        ann.commit()
    bob.commit()
    assert task_row(conn, task_id).leaf == f"pgq.{made.result()}"


ENQUEUES = {
    "sql": "select pgq.enqueue('jobs', 'work', scheduled_at => %s)",
    "insert": "insert into pgq.tasks (queue, task, timeout, max_attempts, scheduled_at)"
    " values ('jobs', 'work', 1, 1, %s) returning id",
    "later": "update pgq.tasks set scheduled_at = %s where queue = 'jobs' and status = 'pending' returning id",
}


@pytest.mark.parametrize("statement", ENQUEUES.values(), ids=ENQUEUES)
def test_what_is_written_while_its_day_is_made_goes_into_that_day(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection, statement: str
) -> None:
    moment = clock(conn) + timedelta(days=30)
    make_task(conn)
    leaf = make_day(ann, 30)
    with behind(conn, bob, lambda: bob.execute(statement, (moment,)).fetchone()[0]) as written:
        ann.commit()
    bob.commit()
    assert task_row(conn, written.result()).leaf == f"pgq.{leaf}"


async def test_a_transaction_that_enqueued_keeps_no_other_enqueue_waiting_for_a_new_day(
    conn: psycopg.Connection, ann: psycopg.Connection, aconn: psycopg.AsyncConnection
) -> None:
    leaf = conn.execute("select max(name) from pgq.partitions").fetchone()[0]
    conn.execute(f"drop table pgq.{leaf}")
    conn.execute("delete from pgq.partitions where name = %s", (leaf,))
    make_task(conn)
    enqueue(ann)
    async with aconn.transaction():
        await make_partitions(aconn)
        conn.execute("set lock_timeout = '50ms'")
        assert enqueue(conn) > 0
    ann.commit()
    async with aconn.transaction():
        await make_partitions(aconn)
    assert conn.execute("select max(name) from pgq.partitions").fetchone() == (leaf,)


async def test_a_day_in_use_does_not_keep_the_other_days_from_being_sealed(
    conn: psycopg.Connection, ann: psycopg.Connection, aconn: psycopg.AsyncConnection, old_day: str
) -> None:
    older = make_day(conn, -3)
    make_task(ann, scheduled_at=clock(ann) - timedelta(days=3))
    async with aconn.transaction():
        await aconn.execute("set local lock_timeout = '100ms'")
        await seal_partitions(aconn)
    query = "select name from pgq.partitions where sealed_at is not null"
    assert conn.execute(query).fetchall() == [(old_day,)]
    ann.commit()
    assert call(conn, "seal_partition", older) is False
