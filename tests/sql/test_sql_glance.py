"""glance: which leases are still ours, and which runs were asked to stop."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

import psycopg
from factory import held, make_task
from stages import complete, keys

from pgq.db import Call, run


def glance(conn: psycopg.Connection, *tasks: Any) -> Any:
    return dict(run(conn, Call("glance", keys(tasks))))


def test_it_tells_which_of_our_tasks_were_asked_to_stop(conn: psycopg.Connection) -> None:
    calm = held(conn, make_task(conn, status="processing"))
    asked = held(conn, make_task(conn, status="processing", cancel_requested=True))
    assert glance(conn, calm, asked) == {calm.id: False, asked.id: True}


def test_a_lost_lease_is_missing(conn: psycopg.Connection) -> None:
    task = held(conn, make_task(conn, status="processing"))
    assert glance(conn, dataclasses.replace(task, lease=uuid.uuid4())) == {}


def test_a_task_that_ended_is_missing(conn: psycopg.Connection) -> None:
    task = held(conn, make_task(conn, status="processing"))
    complete(conn, task)
    assert glance(conn, task) == {}


def test_nothing_is_written(conn: psycopg.Connection) -> None:
    task = held(conn, make_task(conn, status="processing"))
    with conn.transaction():
        conn.execute("set transaction read only")
        assert glance(conn, task) == {task.id: False}
