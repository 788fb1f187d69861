"""roll_up, prune_counts: many appended counts of a minute become one, and later one of ten minutes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
from factory import clock, counts, insert, make_queue

from pgq.db import Call, run


def count(conn: psycopg.Connection, minutes_ago: int, queue: str = "jobs", **columns: Any) -> None:
    make_queue(conn, queue)
    minute = clock(conn).replace(second=0, microsecond=0) - timedelta(minutes=minutes_ago)
    insert(conn, "counts", {"queue": queue, "minute": minute, **columns})


def rows(conn: psycopg.Connection) -> Any:
    return conn.execute("select count(*) from pgq.counts").fetchone()[0]


def test_a_past_minute_becomes_one_row_a_queue_and_loses_nothing(conn: psycopg.Connection) -> None:
    for _ in range(3):
        count(conn, 5, completed=1, failed=2, dead=3, cancelled=4, retried=5)
        count(conn, 5, "other", completed=10)
        count(conn, 6, completed=100)
    before = counts(conn)
    run(conn, Call("roll_up", {}))
    assert rows(conn) == 3
    assert counts(conn) == before == {"completed": 303, "failed": 6, "dead": 9, "cancelled": 12, "retried": 15}
    assert counts(conn, "other") == {"completed": 30}


def test_the_minute_under_way_is_merged_as_far_as_it_got(conn: psycopg.Connection) -> None:
    for turn in (1, 2):
        for _ in range(3):
            count(conn, 0, completed=1)
        run(conn, Call("roll_up", {}))
        assert (rows(conn), counts(conn)) == (1, {"completed": 3 * turn})


def test_a_minute_that_was_merged_is_not_rewritten(conn: psycopg.Connection) -> None:
    count(conn, 5, completed=1)
    run(conn, Call("roll_up", {}))
    before = conn.execute("select ctid, xmin from pgq.counts").fetchall()
    assert run(conn, Call("roll_up", {})) == []
    assert conn.execute("select ctid, xmin from pgq.counts").fetchall() == before


def test_a_late_count_joins_its_minute_at_the_next_turn(conn: psycopg.Connection) -> None:
    for _ in range(2):
        count(conn, 5, completed=1)
    run(conn, Call("roll_up", {}))
    count(conn, 5, completed=1)
    run(conn, Call("roll_up", {}))
    assert (rows(conn), counts(conn)) == (1, {"completed": 3})


def test_counts_older_than_three_hours_become_one_of_ten_minutes(conn: psycopg.Connection) -> None:
    for minutes in range(170, 260):
        count(conn, minutes, completed=1)
        count(conn, minutes, "other", completed=2)
    run(conn, Call("roll_up", {}))
    assert rows(conn) == 180
    for _ in range(2):
        run(conn, Call("prune_counts", {}))
        assert rows(conn) in range(2 * (10 + 8), 2 * (11 + 10))
        assert (counts(conn), counts(conn, "other")) == ({"completed": 90}, {"completed": 180})


def test_counts_older_than_the_week_are_forgotten(conn: psycopg.Connection) -> None:
    for days in (7, 9, 30):
        for _ in range(2):
            count(conn, days * 1440, completed=1)
    run(conn, Call("prune_counts", {}))
    assert (rows(conn), counts(conn)) == (1, {"completed": 2})


def test_a_count_that_committed_late_is_merged_by_the_next_pruning(conn: psycopg.Connection) -> None:
    count(conn, 1, completed=1)
    run(conn, Call("roll_up", {}))
    for _ in range(3):
        count(conn, 30, completed=1)
    run(conn, Call("roll_up", {}))
    assert rows(conn) == 4
    run(conn, Call("prune_counts", {}))
    assert (rows(conn), counts(conn)) == (2, {"completed": 4})
