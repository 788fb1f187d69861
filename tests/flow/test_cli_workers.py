"""`pgq workers`, and the tasks that a worker has."""

from __future__ import annotations

import psycopg
from command_line import document, succeed
from factory import make_task, make_worker


def test_no_worker_is_a_sentence(dsn: str) -> None:
    assert succeed("workers", "--dsn", dsn) == "No worker is running: start one with `pgq worker module:app`.\n"
    assert succeed("workers", "--queue", "x", "--dsn", dsn) == "No worker serves queue 'x'.\n"
    assert document("workers", "--dsn", dsn) == []


def test_workers_are_alive_silent_or_stopping(dsn: str, conn: psycopg.Connection) -> None:
    make_worker(conn, name="a", running=3, concurrency=20, version="9.9", queues=["email", "pdf"])
    make_worker(conn, name="b", silent_for=100, lease=30)
    make_worker(conn, name="c", stopping=True)
    found = document("workers", "--dsn", dsn)
    assert [(row["name"], row["state"]) for row in found] == [("a", "alive"), ("b", "silent"), ("c", "stopping")]
    assert found[1]["silent_for"] >= 100
    lines = succeed("workers", "--dsn", dsn).splitlines()
    assert lines[0].split() == ["ID", "NAME", "HOST", "PID", "STATE", "RUNNING", "UP", "HEARD", "VERSION", "QUEUES"]
    assert lines[1].split()[1:6] == ["a", "test", "1", "alive", "3/20"]
    assert lines[1].endswith("9.9      email, pdf")
    assert [row["name"] for row in document("workers", "--queue", "pdf", "--dsn", dsn)] == ["a"]


def test_tasks_are_found_by_their_worker(dsn: str, conn: psycopg.Connection) -> None:
    ann, bob = make_worker(conn, name="ann:1", host="desk"), make_worker(conn, name="bob:1", host="rack")
    one = make_task(conn, status="processing", worker_id=ann)
    other = make_task(conn, status="processing", worker_id=bob)
    gone = make_task(conn, status="completed", worker_id=4711)
    for worker, tasks in ((ann, [one]), ("ann:1", [one]), ("rack", [other]), (4711, [gone]), ("nobody", [])):
        found = document("tasks", "list", "--worker", worker, "--dsn", dsn)
        assert [row["id"] for row in found] == tasks, worker


def test_tasks_are_found_by_error_and_age_and_come_in_pages(dsn: str, conn: psycopg.Connection) -> None:
    ids = [make_task(conn, last_error="HTTP 503: busy") for _ in range(5)]
    make_task(conn, last_error="HTTP 404")
    conn.execute("update pgq.tasks set created_at = now() - interval '2 hours' where id = %s", (ids[0],))
    words = ["tasks", "list", "--error", "http 503", "--newer", "1h", "--limit", 3, "--dsn", dsn]
    first = [row["id"] for row in document(*words)]
    assert first == [ids[4], ids[3], ids[2]]
    assert [row["id"] for row in document(*words, "--before", first[-1])] == [ids[1]]
    assert [row["id"] for row in document("tasks", "list", "--older", "1h", "--dsn", dsn)] == [ids[0]]
