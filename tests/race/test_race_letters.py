"""Replays and purges of dead letters against each other, against enqueues of their key, and against upkeep."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from factory import key_holder, make_queue, make_task, task_row
from interleave import behind
from pooler import UNPREPARED

from pgq import letters
from pgq.db import Call, run
from pgq.letters import Progress, Which


@pytest.fixture(autouse=True)
def queue(conn: psycopg.Connection) -> None:
    make_queue(conn)


def bury(conn: psycopg.Connection, **columns: Any) -> int:
    return make_task(conn, status="dead", **columns)


def finish(batches: Any) -> Progress:
    return [Progress(), *batches][-1]


def picked(conn: psycopg.Connection) -> dict[str, Any]:
    ((now,),) = run(conn, Call("clock", {}))
    page = {"now": now, "after": None, "after_id": None, "batch": 100}
    found = [letters.Picked(*row) for row in run(conn, Call("pick_dead", {**Which().values, **page}))]
    return {**letters.keys_of(found), "base": now, "done": 0, "step": 0.0}


@pytest.mark.parametrize("first", ["replay_dead", "purge_dead"])
@pytest.mark.parametrize("second", ["replay", "purge"])
def test_whoever_is_second_waits_for_nobody_and_changes_nothing(
    conn: psycopg.Connection, ann: psycopg.Connection, first: str, second: str
) -> None:
    task_id = bury(conn, unique_key="k")
    assert [row[:2] for row in run(ann, Call(first, picked(conn)))] == [(task_id, True)]
    done = finish(getattr(letters, second)(conn, Which()))
    assert done == Progress(left=1)
    ann.commit()
    assert finish(getattr(letters, second)(conn, Which())) == Progress()
    row = task_row(conn, task_id)
    assert (row and row.status) == ("pending" if first == "replay_dead" else None)
    assert key_holder(conn, "k") == (task_id if first == "replay_dead" else None)


@pytest.mark.parametrize("action", ["replay_dead", "purge_dead"])
def test_what_ended_anew_since_it_was_picked_is_left_alone(conn: psycopg.Connection, action: str) -> None:
    task_id = bury(conn)
    seen = picked(conn)
    conn.execute("update pgq.tasks set completed_at = completed_at + interval '1 second', last_error = 'another'")
    assert run(conn, Call(action, seen)) == []
    assert task_row(conn, task_id).status == "dead"


def test_one_whose_key_is_being_taken_is_refused_and_stops_no_other(
    conn: psycopg.Connection, ann: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letters, "PATIENCE", "50ms")
    before, taken, after = (bury(conn, unique_key=key) for key in ("a", "k", "b"))
    ann.execute("select pgq.enqueue('jobs', 'work', unique_key => 'k')")
    done = finish(letters.replay(conn, Which()))
    assert (done.changed, done.refused) == (2, (taken,))
    ann.commit()
    assert [task_row(conn, one).status for one in (before, taken, after)] == ["pending", "dead", "pending"]


def test_one_whose_key_was_nearly_taken_gets_it(
    conn: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection
) -> None:
    task_id = bury(conn, unique_key="k")
    ann.execute("select pgq.enqueue('jobs', 'work', unique_key => 'k')")
    with behind(conn, bob, lambda: run(bob, Call("replay_dead", picked(conn)))) as replayed:
        ann.rollback()
    assert replayed.result()[0][:2] == (task_id, True)
    bob.commit()
    assert key_holder(conn, "k") == task_id


def test_two_replays_of_everything_start_each_task_once(dsn: str, conn: psycopg.Connection) -> None:
    ids = [bury(conn, unique_key=f"k{place}") for place in range(300)]

    def work(_: int) -> Progress:
        with psycopg.connect(dsn, autocommit=True, prepare_threshold=UNPREPARED) as mine:
            return finish(letters.replay(mine, Which()))

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(work, range(4)))
    assert sum(one.changed for one in done) == len(ids)
    assert conn.execute("select status::text, count(*) from pgq.tasks group by 1").fetchall() == [("pending", 300)]
    assert conn.execute("select sum(count) from pgq.audit").fetchone() == (300,)
