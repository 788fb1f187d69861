"""stuck_tasks: what should have moved, and why it did not; silent where all is well."""

from __future__ import annotations

import psycopg
import pytest
from factory import insert, make_queue, make_task, make_worker


def stuck(conn: psycopg.Connection) -> list[tuple[int, str]]:
    return conn.execute("select id, reason from pgq.stuck_tasks order by id").fetchall()


def test_a_queue_that_works_has_none(conn: psycopg.Connection) -> None:
    worker = make_worker(conn, concurrency=5, tasks=["work"])
    make_task(conn, due=-30)
    make_task(conn, due=600)
    make_task(conn, status="processing", worker_id=worker, running_for=50)
    make_task(conn, status="completed", unique_key="x")
    assert stuck(conn) == []


@pytest.mark.parametrize(("silent_for", "shown"), [(40, 0), (50, 1)])
def test_a_task_of_a_silent_worker_that_nobody_gave_back(
    conn: psycopg.Connection, silent_for: float, shown: int
) -> None:
    worker = make_worker(conn, name="w1", silent_for=silent_for)
    task = make_task(conn, status="processing", worker_id=worker, running_for=55)
    found = stuck(conn)
    assert len(found) == shown
    if shown:
        assert found[0][0] == task
        assert found[0][1].startswith("its worker w1 is silent since ")


def test_a_task_of_a_worker_that_is_gone(conn: psycopg.Connection) -> None:
    task = make_task(conn, status="processing", worker_id=7, running_for=20)
    assert stuck(conn) == [(task, "its worker 7 is gone, and nobody gave the task back: is any worker running?")]


def test_a_task_past_its_timeout(conn: psycopg.Connection) -> None:
    worker = make_worker(conn, name="w1")
    task = make_task(conn, status="processing", worker_id=worker, running_for=95, timeout=60)
    make_task(conn, status="processing", worker_id=worker, running_for=85, timeout=60)
    reason = "past its timeout of 60 s: its handler does not stop, and nobody took the task from worker w1"
    assert stuck(conn) == [(task, reason)]


def test_a_task_whose_name_no_worker_knows(conn: psycopg.Connection) -> None:
    make_worker(conn, tasks=["work"])
    make_worker(conn, tasks=["more"])
    conn.execute("insert into pgq.counts (queue, minute, completed) values ('jobs', date_trunc('minute', now()), 1)")
    lost = make_task(conn, due=-90, task="gone")
    for known in ("work", "more"):
        make_task(conn, due=-90, task=known)
    reason = "no live worker of queue jobs knows a task named gone: deploy one that does, or cancel it"
    assert stuck(conn) == [(lost, reason)]
    make_worker(conn, tasks=None)  # one that does not say what it knows may know it
    assert stuck(conn) == []


def test_due_tasks_of_a_queue_that_stands_still_though_slots_are_free(conn: psycopg.Connection) -> None:
    worker = make_worker(conn, concurrency=5, running=2, tasks=["work"])
    task = make_task(conn, due=-90)
    still = "due, and 3 of 5 slots of queue jobs are free, but none of its tasks ended in the last minute"
    assert stuck(conn) == [(task, still)]
    conn.execute("update pgq.workers set running = 5 where id = %s", (worker,))
    assert stuck(conn) == []
    conn.execute("update pgq.workers set running = 0 where id = %s", (worker,))
    make_queue(conn, "jobs", paused_at="2030-01-01")
    assert stuck(conn) == []
    make_queue(conn, "jobs", paused_at=None, concurrency=1)
    insert(conn, "limit_usage", {"name": "queue:jobs", "used": 0, "running": 1})
    assert stuck(conn) == []
    conn.execute("delete from pgq.limit_usage")
    assert [found[0] for found in stuck(conn)] == [task]
    conn.execute("insert into pgq.counts (queue, minute, completed) values ('jobs', date_trunc('minute', now()), 1)")
    assert stuck(conn) == []


def test_a_unique_key_whose_task_has_ended(conn: psycopg.Connection) -> None:
    ended = make_task(conn, status="completed", unique_key="a")
    insert(conn, "unique_keys", {"queue": "jobs", "key": "a", "task_id": ended})
    make_task(conn, unique_key="b")
    ((found, reason),) = stuck(conn)
    assert (found, reason.startswith("it ended, but still holds the unique key")) == (ended, True)
