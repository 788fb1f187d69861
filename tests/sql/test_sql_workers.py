"""register, heartbeat, unregister, upkeep_due, upkeep_turn, clock: one row a process, and who does the upkeep."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from factory import clock, make_worker

from pgq.db import Call, run

WORKER = {
    "name": "n", "host": "h", "pid": 1, "queues": ["a", "b"], "concurrency": 3, "version": "1", "lease": 30.0,
    "tasks": ["t"],
    "supervisor": None, "scale": None,
}  # fmt: skip


def test_a_process_registers_under_a_new_id_each_time(conn: psycopg.Connection) -> None:
    ids = [run(conn, Call("register", WORKER))[0][0] for _ in range(3)]
    assert len(set(ids)) == 3


def test_a_heartbeat_says_what_runs_and_that_we_live(conn: psycopg.Connection) -> None:
    worker = make_worker(conn, silent_for=20)
    before = clock(conn)
    assert run(conn, Call("heartbeat", {"id": worker, "running": 4, "stopping": True})) == [(worker,)]
    row = conn.execute("select heartbeat_at >= %s, running, stopping from pgq.workers", (before,)).fetchone()
    assert row == (True, 4, True)


def test_the_heartbeat_of_a_worker_that_was_declared_dead_comes_back_empty(conn: psycopg.Connection) -> None:
    assert run(conn, Call("heartbeat", {"id": 4711, "running": 0, "stopping": False})) == []
    assert conn.execute("select count(*) from pgq.workers").fetchone() == (0,)


def test_a_worker_leaves_by_id_or_by_name(conn: psycopg.Connection) -> None:
    by_id, by_name, stays = make_worker(conn), make_worker(conn, name="child"), make_worker(conn)
    assert run(conn, Call("unregister", {"id": by_id, "name": None})) == [(by_id,)]
    assert run(conn, Call("unregister", {"id": None, "name": "child"})) == [(by_name,)]
    assert conn.execute("select id from pgq.workers").fetchall() == [(stays,)]


def turn(conn: psycopg.Connection, every: float, step: str = "roll up") -> Any:
    return run(conn, Call("upkeep_turn", {"step": step, "every": every}))


def test_a_step_is_done_once_in_its_interval(conn: psycopg.Connection) -> None:
    assert [turn(conn, 60.0), turn(conn, 60.0), turn(conn, 0.0)] == [[("roll up",)], [], [("roll up",)]]


def test_one_process_at_a_time_does_a_step_while_others_do_other_steps(conn: psycopg.Connection, dsn: str) -> None:
    with psycopg.connect(dsn) as other:
        assert turn(other, 0.0) == [("roll up",)]
        assert turn(conn, 0.0) == []
        assert turn(conn, 0.0, "recover") == [("recover",)]
        other.rollback()
    assert turn(conn, 60.0) == [("roll up",)]


def test_the_look_for_due_steps_finds_what_a_turn_would_get(conn: psycopg.Connection) -> None:
    due = Call("upkeep_due", {"steps": ["roll up", "recover", "no such step"], "every": [60.0, 60.0, 0.0]})
    assert run(conn, due) == [("roll up",), ("recover",)]
    assert turn(conn, 60.0, "roll up") == [("roll up",)]
    assert run(conn, due) == [("recover",)]


def test_a_step_that_ran_in_the_future_is_due_since_the_clock_was_set_back(conn: psycopg.Connection) -> None:
    conn.execute("update pgq.upkeep set ran_at = clock_timestamp() + interval '1 hour' where step = 'roll up'")
    assert run(conn, Call("upkeep_due", {"steps": ["roll up"], "every": [60.0]})) == [("roll up",)]
    assert [turn(conn, 60.0), turn(conn, 60.0)] == [[("roll up",)], []]


def test_whoever_was_heard_of_in_the_future_was_heard_of_now(conn: psycopg.Connection) -> None:
    future, now = make_worker(conn, silent_for=-3_600), make_worker(conn, silent_for=-1)
    assert run(conn, Call("bring_back_heartbeats", {})) == [(future,)]
    cursor = conn.execute("select id from pgq.workers where heartbeat_at > clock_timestamp() + interval '2 seconds'")
    assert (cursor.fetchall(), now > 0) == ([], True)


@pytest.mark.parametrize("step", ["recover", "make partitions", "seal partitions", "drop partitions", "roll up"])
def test_every_step_has_its_row(conn: psycopg.Connection, step: str) -> None:
    assert turn(conn, 60.0, step) == [(step,)]


def test_the_clock_goes_on_inside_a_transaction(conn: psycopg.Connection) -> None:
    with conn.transaction():
        first, second = (run(conn, Call("clock", {}))[0][0] for _ in range(2))
    assert first < second
