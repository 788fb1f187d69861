"""pgq.attempts: what went wrong each time, written only when something did."""

from __future__ import annotations

from typing import Any

import psycopg
from factory import held, make_queue, make_task, make_worker
from stages import complete, recover, settle

from pgq.db import Call, run
from pgq.task import Settled


def attempts(conn: psycopg.Connection) -> list[Any]:
    return conn.execute("select task_id, attempt, worker, error, traceback from pgq.attempts order by 1, 2").fetchall()


def running(conn: psycopg.Connection, **columns: Any) -> int:
    worker = make_worker(conn, name="w1")
    return make_task(conn, status="processing", worker_id=worker, **columns)


def test_a_failed_attempt_is_told_with_its_worker(conn: psycopg.Connection) -> None:
    again, dead = running(conn, attempts=2), running(conn, attempts=5)
    settle(
        conn,
        (held(conn, again), Settled("pending", after=5.0, error="E: x", traceback="at y")),
        (held(conn, dead), Settled("dead", error="E: z")),
    )
    assert attempts(conn) == [(again, 2, "w1", "E: x", "at y"), (dead, 5, "w1", "E: z", None)]
    query = "select bool_and(started_at < ended_at), min(queue) from pgq.attempts"
    assert conn.execute(query).fetchone() == (True, "jobs")


def test_what_did_not_fail_is_not_told(conn: psycopg.Connection) -> None:
    done, snoozed, cancelled, throttled = (running(conn) for _ in range(4))
    complete(conn, held(conn, done))
    settle(
        conn,
        (held(conn, snoozed), Settled("pending", after=5.0, refund=1)),
        (held(conn, cancelled), Settled("cancelled", error="cancelled while it ran")),
        (held(conn, throttled), Settled("pending", after=5.0, refund=1, limit_key="a:b")),
    )
    assert attempts(conn) == []


def test_an_attempt_that_lost_its_worker_or_its_time_is_told(conn: psycopg.Connection) -> None:
    worker = make_worker(conn, name="w2", silent_for=60)
    orphan = make_task(conn, status="processing", worker_id=worker)
    overdue = running(conn, running_for=100, timeout=60)
    recover(conn)
    assert attempts(conn) == [
        (orphan, 1, "w2", "w2 died while it held this task", None),
        (overdue, 1, "w1", "no answer 60 s after it started, its timeout", None),
    ]


def test_a_task_keeps_its_last_twenty(conn: psycopg.Connection) -> None:
    task = running(conn, attempts=1, max_attempts=100)
    for attempt in range(1, 31):
        conn.execute(
            "update pgq.tasks set status = 'processing', lease = gen_random_uuid(), attempts = %s where id = %s",
            (attempt, task),
        )
        settle(conn, (held(conn, task), Settled("pending", error="no")))
    assert [row[1] for row in attempts(conn)] == list(range(11, 31))


def test_old_attempts_go_with_the_retention_of_their_queue_but_not_within_an_hour(conn: psycopg.Connection) -> None:
    for queue, retention in (("short", 0), ("long", 7200)):
        make_queue(conn, queue, retention=retention)
        for minutes in (30, 90, 150):
            conn.execute(
                "insert into pgq.attempts (task_id, queue, attempt, error, ended_at)"
                " values (1, %s, 1, 'no', now() - %s * interval '1 minute')",
                (queue, minutes),
            )
    run(conn, Call("prune_attempts", {"batch": 100}))
    left = conn.execute("select queue, count(*) from pgq.attempts group by 1 order by 1").fetchall()
    assert left == [("long", 2), ("short", 1)]
