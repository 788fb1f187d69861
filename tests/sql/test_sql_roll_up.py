"""roll_up: many appended counts of a minute become one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
from factory import clock, counts, insert

from pgq.db import Call, run


def count(conn: psycopg.Connection, minutes_ago: int, queue: str = "jobs", **columns: Any) -> None:
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


def test_the_minute_under_way_is_left_alone(conn: psycopg.Connection) -> None:
    count(conn, 0, completed=1)
    count(conn, 0, completed=1)
    run(conn, Call("roll_up", {}))
    assert rows(conn) == 2


def test_a_minute_that_is_one_row_is_not_rewritten(conn: psycopg.Connection) -> None:
    count(conn, 5, completed=1)
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


def test_counts_older_than_the_week_are_forgotten(conn: psycopg.Connection) -> None:
    for days in (7, 9, 30):
        for _ in range(2):
            count(conn, days * 1440, completed=1)
    run(conn, Call("roll_up", {}))
    assert (rows(conn), counts(conn)) == (1, {"completed": 2})
