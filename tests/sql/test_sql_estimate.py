"""estimate: a queue too long to be counted is told within a tenth, whatever came, went or became due since then."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from factory import make_day, make_queue, make_worker
from psycopg.rows import namedtuple_row
from stages import claim, complete

from pgq.db import Call, run

BURST = 40_000


@pytest.fixture
def conn(conn: psycopg.Connection) -> psycopg.Connection:
    """Return the connection, with two queues that were counted while they were empty, which took long."""
    conn.execute("select setseed(0.5)")
    for queue in ("jobs", "other"):
        make_queue(conn, queue)
    count(conn)
    conn.execute("update pgq.depths set took = 0.72")
    return conn


def arrive(conn: psycopg.Connection, tasks: int, *queues: str, due: float = 0.0) -> None:
    """Insert tasks, by turns into the queues named."""
    conn.execute(
        "insert into pgq.tasks (queue, task, timeout, max_attempts, scheduled_at)"
        " select (%(queues)s::text[])[1 + n %% cardinality(%(queues)s::text[])], 'work', 60, 5,"
        "        clock_timestamp() + %(due)s * interval '1 second'"
        " from generate_series(1, %(tasks)s) as n",
        {"queues": list(queues), "due": due, "tasks": tasks},
    )


def count(conn: psycopg.Connection) -> int:
    ((counted,),) = run(conn, Call("sample_queues", {}))
    return counted


def later(conn: psycopg.Connection, seconds: float) -> None:
    """Let the samples be older."""
    conn.execute("update pgq.depths set seen_at = seen_at - %s * interval '1 second'", (seconds,))


def look(conn: psycopg.Connection, queue: str = "jobs") -> Any:
    query = "select * from pgq.queue_stats where queue = %s"
    return conn.cursor(row_factory=namedtuple_row).execute(query, (queue,)).fetchone()


def about(tasks: int) -> Any:
    return pytest.approx(tasks, rel=0.1)


def test_a_burst_into_a_queue_that_was_empty_shows_at_once(conn: psycopg.Connection) -> None:
    arrive(conn, BURST, "jobs")
    found = look(conn)
    assert (found.pending, found.due, found.estimated) == (about(BURST), about(BURST), True)
    assert (look(conn, "other").pending, look(conn, "other").estimated) == (0, False)


@pytest.mark.parametrize("others", [1, 4])
def test_a_burst_that_other_queues_share_is_told_apart(conn: psycopg.Connection, others: int) -> None:
    arrive(conn, BURST * (1 + others), "jobs", *["other"] * others)
    assert look(conn).pending == about(BURST)
    assert look(conn, "other").pending == about(BURST * others)


def test_bursts_one_after_the_other_are_told_apart(conn: psycopg.Connection) -> None:
    arrive(conn, BURST, "other")
    arrive(conn, BURST, "jobs")
    arrive(conn, BURST // 2, "other")
    assert look(conn).pending == about(BURST)
    assert look(conn, "other").pending == about(BURST * 3 // 2)


def test_some_thousands_are_told_exactly(conn: psycopg.Connection) -> None:
    conn.execute("update pgq.depths set took = 0")
    arrive(conn, 21_500, "jobs")
    count(conn)
    arrive(conn, 300, "jobs", "other")
    arrive(conn, 20, "jobs", due=3600)
    found = look(conn)
    assert (found.pending, found.due, found.estimated) == (21_670, 21_650, True)


def test_what_is_due_later_waits_and_is_not_due(conn: psycopg.Connection) -> None:
    make_day(conn, 1)
    arrive(conn, BURST, "jobs", due=86_400)
    found = look(conn)
    assert (found.pending, found.due) == (about(BURST), 0)


def test_a_backlog_that_drains_shrinks_although_much_arrived_before(conn: psycopg.Connection) -> None:
    later(conn, 60)
    arrive(conn, BURST, "jobs")
    run(conn, Call("sample_queues", {}))
    assert look(conn).arrived_1m > 100
    worker = make_worker(conn)
    complete(conn, *claim(conn, worker, count=10_000))
    claim(conn, worker, count=500)
    later(conn, 5)
    assert look(conn).pending == BURST - 10_500


def test_tasks_that_came_and_were_deleted_as_they_completed_are_no_loss(conn: psycopg.Connection) -> None:
    conn.execute("update pgq.queues set retention = 0")
    arrive(conn, BURST, "jobs")
    later(conn, 10)
    assert count(conn) == 1
    arrive(conn, 1_000, "jobs")
    conn.execute("update pgq.tasks set priority = 0 where id > %s", (BURST,))
    complete(conn, *claim(conn, make_worker(conn), count=1_000), forget=True)
    assert look(conn).pending == BURST


def test_where_much_came_upkeep_counts_again_at_a_tenth_of_the_time(conn: psycopg.Connection) -> None:
    conn.execute("update pgq.depths set took = 30")
    arrive(conn, BURST, "jobs")
    later(conn, 200)
    assert count(conn) == 0
    later(conn, 100)
    assert count(conn) == 1
    assert look(conn).pending == BURST


@pytest.mark.parametrize(("came", "counted"), [(BURST // 20, 0), (BURST // 5, 1)])
def test_it_counts_again_only_where_more_than_a_tenth_changed(
    conn: psycopg.Connection, came: int, counted: int
) -> None:
    arrive(conn, BURST, "jobs")
    later(conn, 8)
    count(conn)
    conn.execute("update pgq.depths set took = 0.72")
    arrive(conn, came, "jobs")
    later(conn, 8)
    assert count(conn) == counted


def test_a_crowd_that_became_due_is_counted_again(conn: psycopg.Connection) -> None:
    arrive(conn, BURST, "jobs", due=60)
    later(conn, 8)
    count(conn)
    conn.execute("update pgq.depths set took = 0.72")
    assert look(conn).due == 0
    conn.execute("update pgq.tasks set scheduled_at = scheduled_at - interval '61 seconds'")
    later(conn, 8)
    assert count(conn) == 1
    assert look(conn).due == BURST


def test_the_monitor_sees_the_same(conn: psycopg.Connection) -> None:
    arrive(conn, BURST, "jobs")
    conn.execute("set role pgq_monitor")
    assert look(conn).pending == about(BURST)
