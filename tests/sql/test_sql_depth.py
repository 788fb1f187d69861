"""depth, sample, rates: what waits is counted while that is cheap, and estimated honestly where it is not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from factory import clock, insert, make_queue, make_task, make_tasks, make_worker
from psycopg.rows import namedtuple_row
from stages import claim, complete

from pgq.db import Call, run


def depth(conn: psycopg.Connection, queue: str = "jobs", most: int = 2000) -> Any:
    query = "select pending, due, processing, throttled, oldest, estimated, seen_at from pgq.depth(%s, %s)"
    return conn.cursor(row_factory=namedtuple_row).execute(query, (queue, most)).fetchone()


def stats(conn: psycopg.Connection, queue: str = "jobs") -> Any:
    query = "select * from pgq.queue_stats where queue = %s"
    return conn.cursor(row_factory=namedtuple_row).execute(query, (queue,)).fetchone()


def sample(conn: psycopg.Connection, queue: str = "jobs", **changes: Any) -> None:
    conn.execute("select pgq.sample(%s)", (queue,))
    for column, value in changes.items():
        conn.execute(
            f"update pgq.depths set {column} = %s where queue = %s"
            " and seen_at = (select max(seen_at) from pgq.depths where queue = %s)",
            (value, queue, queue),
        )


def ago(conn: psycopg.Connection, seconds: float) -> None:
    """Let all samples be older."""
    conn.execute("update pgq.depths set seen_at = seen_at - %s * interval '1 second'", (seconds,))


def test_an_empty_queue_is_exactly_empty(conn: psycopg.Connection) -> None:
    make_queue(conn)
    found = depth(conn)
    assert (found.pending, found.due, found.processing, found.throttled, found.oldest) == (0, 0, 0, 0, None)
    assert found.estimated is False


@pytest.mark.parametrize("sampled", [False, True])
def test_what_was_enqueued_just_now_counts_at_once(conn: psycopg.Connection, sampled: bool) -> None:
    make_tasks(conn, 2, due=-60)
    if sampled:
        sample(conn)
    make_task(conn, due=-5, priority=0)
    make_task(conn, due=3600)
    make_task(conn, status="processing", worker_id=make_worker(conn))
    make_task(conn, status="completed")
    found = depth(conn)
    assert (found.pending, found.due, found.processing, found.estimated) == (4, 3, 1, False)
    assert 60 <= stats(conn).oldest_due_age < 90


def test_more_than_is_counted_is_estimated_from_the_last_sample(conn: psycopg.Connection) -> None:
    make_tasks(conn, 12)
    assert depth(conn, most=5)[:2] == (5, 5)
    assert depth(conn, most=5).estimated is True  # nobody counted: at least so many
    sample(conn)
    make_task(conn)
    found = depth(conn, most=5)
    assert (found.pending, found.estimated) == (13, True)
    assert found.seen_at < clock(conn)
    assert depth(conn, most=5).due == 13
    assert depth(conn).pending == 13


def test_an_estimate_moves_with_what_ends(conn: psycopg.Connection) -> None:
    worker = make_worker(conn)
    make_tasks(conn, 12)
    sample(conn)
    complete(conn, *claim(conn, worker, count=4))
    claim(conn, worker, count=2)
    found = depth(conn, most=3)
    assert (found.pending, found.due, found.processing, found.estimated) == (6, 6, 2, True)


def test_where_counting_took_long_the_next_look_begins_at_the_floors(conn: psycopg.Connection) -> None:
    make_task(conn, due=-50)
    sample(conn, took=1.0)
    make_task(conn, due=-100)  # handed back to an older place
    assert depth(conn).pending == 1
    make_task(conn, due=-55)
    assert depth(conn).pending == 2
    sample(conn, took=0.001)
    assert depth(conn).pending == 3


def test_throttled_tasks_are_those_that_wait_for_their_turn(conn: psycopg.Connection) -> None:
    make_task(conn, due=60, throttled_by="customer:a")
    make_task(conn, due=-60, throttled_by="customer:a")
    make_task(conn, due=60)
    sample(conn)
    assert stats(conn).throttled == 1


def test_arrivals_are_the_change_of_depth_and_what_ended(conn: psycopg.Connection) -> None:
    worker = make_worker(conn)
    make_tasks(conn, 5)
    sample(conn)
    ago(conn, 60)
    complete(conn, *claim(conn, worker, count=4))
    make_tasks(conn, 8)
    claim(conn, worker, count=3)
    sample(conn)
    found = stats(conn)
    assert found.arrived_1m == pytest.approx(8 / 60, rel=0.1)
    assert found.served_1m == pytest.approx(4 / 60, rel=0.1)
    assert found.arrived_60m == found.arrived_1m  # since the first sample
    ago(conn, 300)
    assert (stats(conn).arrived_1m, stats(conn).served_1m) == (None, None)  # nobody counted of late
    assert stats(conn).arrived_5m == pytest.approx(8 / 60, rel=0.1)


def test_totals_go_on_when_the_minute_they_count_from_moves(conn: psycopg.Connection) -> None:
    worker = make_worker(conn)
    make_tasks(conn, 20)
    sample(conn)
    for _ in range(4):
        complete(conn, *claim(conn, worker, count=2))
        make_tasks(conn, 3)
        run(conn, Call("roll_up", {}))
        conn.execute("update pgq.depths set origin = origin - interval '50 minutes'")
        sample(conn)
    newest = "select ended, arrived from pgq.depths order by seen_at desc limit 1"
    assert conn.execute(newest).fetchone() == (8, 12)


def test_a_slow_count_waits_until_it_has_paid_for_itself(conn: psycopg.Connection) -> None:
    make_queue(conn)
    assert run(conn, Call("sample_queues", {})) == [(1,)]
    conn.execute("update pgq.depths set took = 1")
    assert run(conn, Call("sample_queues", {})) == [(0,)]
    ago(conn, 100)
    assert run(conn, Call("sample_queues", {})) == [(1,)]


def test_samples_of_more_than_an_hour_ago_are_forgotten(conn: psycopg.Connection) -> None:
    make_queue(conn)
    sample(conn)
    ago(conn, 66 * 60)
    sample(conn)
    assert run(conn, Call("prune_depths", {})) == [(1,)]
    assert conn.execute("select count(*) from pgq.depths").fetchone() == (1,)


def test_a_minute_that_is_over_says_what_arrived_and_how_long_it_took(conn: psycopg.Connection) -> None:
    make_queue(conn)
    minute = clock(conn).replace(second=0, microsecond=0) - timedelta(minutes=2)
    for seconds, arrived in ((-30, 100), (10, 110), (55, 130)):
        sample(conn, seen_at=minute + timedelta(seconds=seconds), arrived=arrived, pending=arrived - 90)
    for kind, bucket in (("wait", -4), ("run", 8)):
        insert(conn, "timings", {"queue": "jobs", "minute": minute, "kind": kind, "bucket": bucket, "tasks": 3})
    insert(conn, "counts", {"queue": "jobs", "minute": minute, "completed": 7})
    for _ in range(2):
        run(conn, Call("close_minutes", {}))
        run(conn, Call("roll_up", {}))
    query = "select arrived, completed, depth, wait_p50, wait_p95, run_p50 from pgq.minutes where minute = %s"
    (row,) = conn.execute(query, (minute,)).fetchall()
    assert row[:3] == (30, 7, 40)
    assert row[3:] == pytest.approx((2**-0.875, 2**-0.875, 2**2.125))
    assert conn.execute("select count(*) from pgq.counts where minute = %s", (minute,)).fetchone() == (1,)


def test_percentiles_are_read_from_the_buckets_of_the_last_five_minutes(conn: psycopg.Connection) -> None:
    make_queue(conn)
    now = clock(conn).replace(second=0, microsecond=0)
    for bucket, tasks in ((0, 60), (4, 30), (8, 10)):
        values = {"queue": "jobs", "kinds": ["run"], "buckets": [bucket], "tasks": [tasks]}
        assert run(conn, Call("add_timings", values)) == [(1,)]
    old = {"queue": "jobs", "minute": now - timedelta(minutes=9), "kind": "run", "bucket": 40, "tasks": 1000}
    insert(conn, "timings", old)
    for _ in range(2):
        found = stats(conn)
        assert (found.run_p50, found.run_p95) == pytest.approx((2**0.125, 2**2.125))
        assert (found.wait_p50, found.wait_p95) == (None, None)
        run(conn, Call("merge_timings", {}))
    conn.execute("update pgq.timings set minute = minute - interval '2 minutes' where bucket = 40")
    run(conn, Call("merge_timings", {}))
    assert conn.execute("select sum(tasks)::int, count(*) from pgq.timings").fetchone() == (100, 3)
