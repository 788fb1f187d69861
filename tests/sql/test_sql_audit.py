"""The audit in plain SQL: what steers is recorded with it, as whom, and forgotten in time."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from factory import make_queue, make_task
from psycopg.rows import namedtuple_row

from pgq.audit import record, whoami
from pgq.db import Call, run


def entries(conn: psycopg.Connection) -> list[Any]:
    return conn.cursor(row_factory=namedtuple_row).execute("select * from pgq.audit order by id").fetchall()


def test_what_steers_is_recorded_as_the_current_user(conn: psycopg.Connection) -> None:
    make_queue(conn)
    waiting, dead = make_task(conn), make_task(conn, status="dead")
    conn.execute("select pgq.pause('jobs'), pgq.resume('jobs'), pgq.cancel(%s), pgq.retry(%s)", (waiting, dead))
    (me,) = conn.execute("select current_user").fetchone()
    assert [(e.actor, e.action, e.queue, e.filter, e.count) for e in entries(conn)] == [
        (me, "pause", "jobs", None, 1),
        (me, "resume", "jobs", None, 1),
        (me, "cancel", "jobs", {"ids": [waiting]}, 1),
        (me, "retry", "jobs", {"ids": [dead]}, 1),
    ]


def test_somebody_else_may_be_named(conn: psycopg.Connection) -> None:
    make_queue(conn)
    task_id = make_task(conn)
    conn.execute(
        "select pgq.pause('jobs', 'ada'), pgq.resume('jobs', 'bob'), pgq.retry(%(id)s, 'cy'), pgq.cancel(%(id)s, 'di')",
        {"id": task_id},
    )
    assert [e.actor for e in entries(conn)] == ["ada", "bob", "cy", "di"]


def test_what_changes_nothing_is_not_recorded(conn: psycopg.Connection) -> None:
    make_queue(conn)
    running, done = make_task(conn, status="processing"), make_task(conn, status="completed")
    conn.execute("select pgq.resume('jobs'), pgq.retry(%s), pgq.cancel(%s)", (running, done))
    conn.execute("select pgq.pause('jobs')")
    conn.execute("select pgq.pause('jobs')")
    assert [e.action for e in entries(conn)] == ["pause"]


def test_what_is_rolled_back_was_not_done(conn: psycopg.Connection) -> None:
    make_queue(conn)
    with conn.transaction(force_rollback=True):
        conn.execute("select pgq.pause('jobs')")
    assert entries(conn) == []


@pytest.mark.parametrize("function", ["pause", "resume"])
def test_an_unknown_queue_is_an_error(conn: psycopg.Connection, function: str) -> None:
    with pytest.raises(psycopg.Error, match="unknown queue 'nix'") as caught:
        conn.execute(f"select pgq.{function}('nix')")
    assert caught.value.sqlstate == "PQ001"


def test_python_records_the_same(conn: psycopg.Connection) -> None:
    told = record("replay", queue="jobs", filter={"error": "HTTP 503"}, count=40, note="they are up", actor=whoami())
    ((entry_id,),) = run(conn, told)
    (entry,) = entries(conn)
    assert (entry.id, entry.actor, entry.action, entry.queue) == (entry_id, whoami(), "replay", "jobs")
    assert (entry.filter, entry.count, entry.note) == ({"error": "HTTP 503"}, 40, "they are up")
    run(conn, record("purge", actor="", note=""))
    assert entries(conn)[1].actor == conn.execute("select current_user").fetchone()[0]
    assert entries(conn)[1].note is None


def test_entries_are_forgotten_after_their_time_a_batch_at_a_time(conn: psycopg.Connection) -> None:
    for days in (100, 91, 89):
        conn.execute(
            "insert into pgq.audit (at, actor, action) values (now() - %s * interval '1 day', 'ada', 'pause')", (days,)
        )
    assert run(conn, Call("prune_audit", {"days": 90, "batch": 1})) == [(1,)]
    assert run(conn, Call("prune_audit", {"days": 90, "batch": 10})) == [(1,)]
    assert len(entries(conn)) == 1
