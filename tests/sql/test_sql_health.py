"""health, partition_stats, worker_stats, autoscale: each check can say no, and says what to do."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from factory import insert, make_day, make_queue, make_task, make_tasks, make_worker
from psycopg.rows import namedtuple_row


def health(conn: psycopg.Connection, name: str) -> Any:
    cursor = conn.cursor(row_factory=namedtuple_row)
    return cursor.execute("select * from pgq.health where name = %s", (name,)).fetchone()


def autoscale(conn: psycopg.Connection, queue: str = "jobs") -> Any:
    cursor = conn.cursor(row_factory=namedtuple_row)
    return cursor.execute("select * from pgq.autoscale where queue = %s", (queue,)).fetchone()


def test_all_is_well_where_work_is_done(conn: psycopg.Connection) -> None:
    make_worker(conn, tasks=["work"])
    make_task(conn)
    conn.execute("update pgq.upkeep set ran_at = now()")
    # The server of the tests may forget all it likes.
    query = "select name, message from pgq.health where status <> 'ok' and name <> 'durability'"
    assert conn.execute(query).fetchall() == []
    assert conn.execute("select count(*), count(distinct name), count(value) from pgq.health").fetchone() == (
        19,
        19,
        19,
    )


def test_a_server_that_may_lose_what_it_acknowledged_is_a_warning(conn: psycopg.Connection) -> None:
    conn.execute("set synchronous_commit = off")
    found = health(conn, "durability")
    fsync = conn.execute("show fsync").fetchone() == ("on",)
    assert found.status == "warn"
    assert found.message.startswith("synchronous_commit is off" if fsync else "fsync is off")


def test_a_session_that_hides_its_state_is_said(conn: psycopg.Connection, direct_dsn: str) -> None:
    with psycopg.connect(direct_dsn, autocommit=True) as watcher:
        watcher.execute("create role pgq_test_blind nologin")
        try:
            watcher.execute("grant usage on schema pgq to pgq_test_blind")
            watcher.execute("grant execute on all functions in schema pgq to pgq_test_blind")
            watcher.execute("set role pgq_test_blind")
            query = "select message from pgq.health_of_server() where name = 'transactions'"
            ((message,),) = watcher.execute(query).fetchall()
            assert "sessions hide theirs from this user: grant it pg_read_all_stats" in message
            watcher.execute("reset role")
            watcher.execute("set role pgq_monitor")
            assert "hide" not in watcher.execute(query).fetchone()[0]
        finally:
            watcher.execute("reset role")
            watcher.execute("drop owned by pgq_test_blind")
            watcher.execute("drop role pgq_test_blind")
    assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


@pytest.mark.parametrize(
    ("paused", "due", "name", "status", "message"),
    [
        (False, -5, "queues", "critical", "no worker serves jobs (tasks are due)"),
        (False, 600, "queues", "warn", "no worker serves jobs"),
        (True, -5, "paused", "warn", "jobs (tasks are due): `pgq queues resume` lets them go on"),
        (True, 600, "paused", "warn", "jobs: `pgq queues resume` lets them go on"),
    ],
)
def test_queues_that_nobody_serves(
    conn: psycopg.Connection, paused: bool, due: float, name: str, status: str, message: str
) -> None:
    make_task(conn, due=due)
    make_queue(conn, "jobs", paused_at="2030-01-01" if paused else None)
    found = health(conn, name)
    assert (found.status, found.message) == (status, message)
    other = health(conn, "paused" if name == "queues" else "queues")
    assert other.status == "ok"


def test_dead_workers_and_stuck_tasks_are_critical(conn: psycopg.Connection) -> None:
    worker = make_worker(conn, silent_for=200)
    make_task(conn, status="processing", worker_id=worker, running_for=300)
    assert health(conn, "dead workers").message.startswith("1 dead for 3 min still listed")
    found = health(conn, "stuck tasks")
    assert (found.status, found.value) == ("critical", 1)
    assert "of queue jobs: its worker" in found.message


def test_a_worker_that_was_heard_of_in_the_future_says_that_the_clock_went_back(conn: psycopg.Connection) -> None:
    make_worker(conn, name="w1", silent_for=-100)
    found = health(conn, "clocks")
    assert (found.status, found.value) == ("critical", pytest.approx(100, abs=5))
    assert found.message.startswith("worker w1 was heard of")


def test_a_day_that_is_over_and_still_open_is_named(conn: psycopg.Connection) -> None:
    leaf = make_day(conn, -3)
    found = health(conn, "sealing")
    assert found.status == "warn"
    assert found.message.startswith(f"{leaf} is over for 2 days and not sealed")
    conn.execute("select pgq.seal_partition(%s)", (leaf,))
    assert health(conn, "sealing").status == "ok"


def test_partitions_say_how_large_they_are_and_when_they_go(conn: psycopg.Connection) -> None:
    make_queue(conn, "jobs", retention=86_400)
    leaf = make_day(conn, -3)
    conn.execute("select pgq.seal_partition(%s)", (leaf,))
    query = "select bytes > 0, drops_at - sealed_at = interval '1 day', ends_at > starts_at from pgq.partition_stats"
    assert conn.execute(f"{query} where name = %s", (leaf,)).fetchone() == (True, True, True)
    assert conn.execute(f"{query} where name = 'tasks_default'").fetchone() == (True, None, None)
    assert conn.execute("select count(*) from pgq.partition_stats where live_rows is null").fetchone() == (0,)


def test_a_worker_is_utilised_as_far_as_its_slots_are_used(conn: psycopg.Connection) -> None:
    make_worker(conn, name="w1", concurrency=4, running=1)
    query = "select utilisation, alive, lease from pgq.worker_stats"
    assert conn.execute(query).fetchone() == (0.25, True, 30.0)


def test_a_queue_without_work_needs_no_worker(conn: psycopg.Connection) -> None:
    make_queue(conn)
    make_worker(conn, concurrency=10)
    assert autoscale(conn)[1:] == (10, 0, 0, 0, 0, 0)


def test_a_backlog_needs_the_slots_that_drain_it_within_a_minute(conn: psycopg.Connection) -> None:
    make_worker(conn, concurrency=10)
    make_worker(conn, concurrency=10, silent_for=60)
    make_tasks(conn, 120)
    values = {"queue": "jobs", "minute": "now", "kind": "run", "bucket": 12, "tasks": 3}  # 8 s and a bit
    insert(conn, "timings", values)
    found = autoscale(conn)
    assert (found.slots, found.busy, found.backlog) == (10, 0, 120)
    assert found.needed_slots == pytest.approx(120 / 60 * 2**3.125, abs=2)
    assert found.needed_workers == 2
    conn.execute("update pgq.tasks set scheduled_at = scheduled_at - interval '55 seconds'")
    assert autoscale(conn).needed_slots == pytest.approx(120 / 10 * 2**3.125, abs=2)  # the oldest has waited already


def test_what_may_not_start_needs_no_slots(conn: psycopg.Connection) -> None:
    make_tasks(conn, 120)
    make_task(conn, due=600)
    make_queue(conn, "jobs", concurrency=2)
    assert (autoscale(conn).backlog, autoscale(conn).needed_slots) == (120, 2)
    make_queue(conn, "jobs", concurrency=None, rate_max=3, rate_per=1.0)
    assert autoscale(conn).needed_slots == 3  # a second each, where nothing is known
    insert(conn, "limit_usage", {"name": "queue:jobs", "used": 3, "running": 0, "free_at": "2100-01-01"})
    assert (autoscale(conn).backlog, autoscale(conn).needed_slots) == (0, 0)
    conn.execute("delete from pgq.limit_usage")
    make_queue(conn, "jobs", paused_at="2030-01-01")
    assert (autoscale(conn).backlog, autoscale(conn).needed_slots, autoscale(conn).needed_workers) == (0, 0, 0)


def test_no_more_slots_are_needed_than_there_are_tasks(conn: psycopg.Connection) -> None:
    make_tasks(conn, 2)
    insert(conn, "timings", {"queue": "jobs", "minute": "now", "kind": "run", "bucket": 60, "tasks": 3})
    assert (autoscale(conn).needed_slots, autoscale(conn).needed_workers) == (2, 1)
