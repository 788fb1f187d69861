"""explain: one sentence for every state a task can be in, and it never reads more than it must."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from factory import clock, insert, make_queue, make_task, make_tasks, make_worker
from psycopg import sql

LATER = datetime(2099, 1, 31, 9, tzinfo=UTC)
THEN = datetime(2020, 1, 31, 9, tzinfo=UTC)
LATER_TEXT = "2099-01-31 09:00:00+00:00"
THEN_TEXT = "2020-01-31 09:00:00+00:00"


@pytest.fixture(autouse=True)
def _in_utc(conn: psycopg.Connection) -> None:
    conn.execute("set time zone 'UTC'")


def said(conn: psycopg.Connection, task_id: int) -> str:
    """Return what is said of a task."""
    ((sentence,),) = conn.execute("select pgq.explain(%s)", (task_id,)).fetchall()
    return sentence


def saw(conn: psycopg.Connection, name: str, *, ago: float = 0.0, **columns: Any) -> None:
    """Write down that a limit was seen so many seconds ago."""
    seen_at = clock(conn) - timedelta(seconds=ago)
    insert(conn, "limit_usage", {"name": name, "used": 0, "running": 0, "seen_at": seen_at, **columns}, conflict="name")


@pytest.fixture
def due(conn: psycopg.Connection) -> int:
    """Return a task that is due, of a queue that an idle worker serves."""
    make_worker(conn, concurrency=10)
    return make_task(conn, due=-5, limit_keys=["customer:acme", "host:a"])


def test_an_unknown_task_is_an_error_of_its_own(conn: psycopg.Connection) -> None:
    with pytest.raises(psycopg.Error, match="no task 999") as caught:
        said(conn, 999)
    assert caught.value.sqlstate == "PQ004"


@pytest.mark.parametrize(
    ("status", "columns", "sentence"),
    [
        ("completed", {"last_error": "once"}, f"completed at {THEN_TEXT}, in attempt 1 of 5"),
        ("failed", {"last_error": "ValueError: x"}, f"failed at {THEN_TEXT}, in attempt 1 of 5: ValueError: x"),
        ("dead", {"attempts": 5, "last_error": "no way"}, f"dead at {THEN_TEXT}, in attempt 5 of 5: no way"),
        ("cancelled", {"attempts": 0}, f"cancelled at {THEN_TEXT}"),
        ("cancelled", {"attempts": 2, "last_error": "x"}, f"cancelled at {THEN_TEXT}, in attempt 2 of 5: x"),
    ],
)
def test_an_ended_task_says_when_and_why(
    conn: psycopg.Connection, status: str, columns: dict[str, Any], sentence: str
) -> None:
    assert said(conn, make_task(conn, status=status, completed_at=THEN, **columns)) == sentence


def test_times_are_those_of_the_session(conn: psycopg.Connection) -> None:
    task_id = make_task(conn, status="completed", completed_at=THEN)
    conn.execute("set time zone 'Asia/Kolkata'")
    assert "2020-01-31 14:30:00+05:30" in said(conn, task_id)


def running(conn: psycopg.Connection, worker: int | None, **columns: Any) -> str:
    return said(conn, make_task(conn, status="processing", worker_id=worker, started_at=THEN, timeout=1e9, **columns))


def test_a_task_that_runs_says_where_and_since_when(conn: psycopg.Connection) -> None:
    worker = make_worker(conn, name="host:17")
    start = f"running since {THEN_TEXT}, attempt 1 of 5, by worker host:17"
    assert running(conn, worker) == start
    assert running(conn, worker, cancel_requested=True) == f"{start}, asked to stop"


def test_a_task_past_its_timeout_says_so(conn: psycopg.Connection) -> None:
    worker = make_worker(conn)
    task_id = make_task(conn, status="processing", worker_id=worker, running_for=20, timeout=7.5)
    assert said(conn, task_id).endswith(", past its timeout of 7.5 s")


def test_a_task_whose_worker_is_silent_or_gone_will_be_given_back(conn: psycopg.Connection) -> None:
    start = "running since 2020-01-31 09:00:00+00:00, attempt 1 of 5, by worker "
    assert running(conn, 44) == f"{start}44, which is gone: the task will be given back"
    worker = make_worker(conn, name="w", lease=1e-6)
    ((beat,),) = conn.execute("select pgq.spoken(heartbeat_at) from pgq.workers").fetchall()
    wait_for_lease = "select pg_sleep(0.001) from pgq.workers where heartbeat_at + interval '1 ms' > clock_timestamp()"
    conn.execute(wait_for_lease)
    silent = f"{start}w, silent since {beat}, past its lease of 1e-06 s: the task will be given back"
    assert running(conn, worker) == silent


def test_a_paused_queue_comes_before_every_other_reason(conn: psycopg.Connection) -> None:
    make_queue(conn, "mail", paused_at=THEN)
    sentence = f"queue mail is paused since {THEN_TEXT}"
    assert said(conn, make_task(conn, queue="mail")) == sentence
    assert said(conn, make_task(conn, queue="mail", scheduled_at=LATER, throttled_by="a:b", bounces=1)) == sentence


def test_a_queue_that_is_gone_is_named(conn: psycopg.Connection) -> None:
    task_id = make_task(conn, queue="mail")
    conn.execute("delete from pgq.queues")
    assert said(conn, task_id) == "queue mail is gone"


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({}, f"due at {LATER_TEXT}"),
        ({"attempts": 1}, f"due at {LATER_TEXT}"),
        (
            {"attempts": 2, "last_error": "OSError: away"},
            f"attempt 2 of 5 failed, the next is due at {LATER_TEXT}: OSError: away",
        ),
        ({"throttled_by": "customer:acme", "bounces": 1}, f"throttled by customer:acme until {LATER_TEXT}"),
        ({"throttled_by": "customer:acme"}, f"throttled by customer:acme until {LATER_TEXT}"),
    ],
)
def test_a_task_that_is_due_later_says_when_and_why(
    conn: psycopg.Connection, columns: dict[str, Any], sentence: str
) -> None:
    assert said(conn, make_task(conn, scheduled_at=LATER, **columns)) == sentence


@pytest.mark.parametrize("worker", [{"queues": ["other"]}, {"silent_for": 60}, {"stopping": True}])
def test_without_a_worker_for_its_queue_a_task_waits_for_one(conn: psycopg.Connection, worker: dict[str, Any]) -> None:
    make_worker(conn, **worker)
    assert said(conn, make_task(conn)) == "due, but no worker serves queue jobs"


def test_a_task_that_no_worker_knows_says_so(conn: psycopg.Connection, due: int) -> None:
    conn.execute("update pgq.workers set tasks = '{other}'")
    assert said(conn, due) == "due, but no worker that serves queue jobs knows a task of the name work"
    conn.execute("update pgq.workers set tasks = '{other,work}'")
    assert "number 1" in said(conn, due)


def test_busy_slots_are_counted_over_the_workers_of_its_queue(conn: psycopg.Connection, due: int) -> None:
    make_worker(conn, queues=["other", "jobs"], concurrency=4, running=4)
    make_worker(conn, queues=["other"], concurrency=4)
    assert "number 1" in said(conn, due)
    conn.execute("update pgq.workers set running = 10 where concurrency = 10")
    assert said(conn, due) == "due, but all 14 slots of the workers that serve queue jobs are busy"


def test_a_queue_at_its_rate_says_until_when(conn: psycopg.Connection, due: int) -> None:
    make_queue(conn, rate_max=100, rate_per=60)
    saw(conn, "queue:jobs", used=99)
    assert "number 1" in said(conn, due)
    saw(conn, "queue:jobs", used=100, free_at=LATER)
    assert said(conn, due) == f"due, but queue jobs is at its limit of 100 per 60 s until {LATER_TEXT}"


def test_a_queue_at_its_concurrency_says_how_many(conn: psycopg.Connection, due: int) -> None:
    make_queue(conn, concurrency=5)
    saw(conn, "queue:jobs", running=4)
    assert "number 1" in said(conn, due)
    saw(conn, "queue:jobs", running=5)
    assert said(conn, due) == "due, but queue jobs is at its limit of 5 at once"


def test_a_limit_whose_moment_has_come_since_it_was_seen_says_so(conn: psycopg.Connection, due: int) -> None:
    make_queue(conn, rate_max=100, rate_per=60)
    saw(conn, "queue:jobs", ago=5, used=100, free_at=THEN)
    assert said(conn, due).startswith("due, but queue jobs was at its limit of 100 per 60 s when seen last, at 20")


def test_a_limit_that_was_paused_says_until_when(conn: psycopg.Connection, due: int) -> None:
    make_queue(conn, rate_max=100, rate_per=60)
    saw(conn, "queue:jobs", used=1, free_at=LATER)
    assert said(conn, due) == f"due, but queue jobs lets nothing start until {LATER_TEXT}"


def test_what_was_seen_a_while_ago_holds_nobody_back(conn: psycopg.Connection, due: int) -> None:
    make_queue(conn, concurrency=5)
    saw(conn, "queue:jobs", ago=16, running=5)
    assert "number 1" in said(conn, due)


def test_one_of_its_keys_may_hold_a_task_back(conn: psycopg.Connection, due: int) -> None:
    insert(conn, "limits", {"name": "host", "rate_max": 2, "rate_per": 0.5})
    saw(conn, "host:b", used=2, free_at=LATER)
    assert "number 1" in said(conn, due)
    saw(conn, "host:a", used=2, free_at=LATER)
    assert said(conn, due) == f"due, but host:a is at its limit of 2 per 0.5 s until {LATER_TEXT}"


def test_the_limit_that_holds_longest_is_named(conn: psycopg.Connection, due: int) -> None:
    make_queue(conn, concurrency=5)
    saw(conn, "queue:jobs", running=5)
    saw(conn, "customer:acme", free_at=clock(conn) + timedelta(hours=1))
    saw(conn, "host:a", free_at=LATER)
    assert said(conn, due) == f"due, but host:a lets nothing start until {LATER_TEXT}"


def test_the_place_in_the_queue_counts_what_is_due_and_goes_first(conn: psycopg.Connection, due: int) -> None:
    now = clock(conn)
    make_task(conn, priority=0, scheduled_at=now)
    make_task(conn, priority=5, scheduled_at=now - timedelta(minutes=1))
    for columns in (
        {"priority": 6, "due": -60},  # less urgent
        {"priority": 5, "scheduled_at": now},  # due after it
        {"priority": 0, "due": 3600},  # not due
        {"priority": 0, "due": -60, "queue": "other"},
        {"priority": 0, "due": -60, "status": "processing"},
        {"priority": 0, "due": -60, "status": "completed"},
    ):
        make_task(conn, **columns)
    assert said(conn, due) == "due; it is number 3 of its queue"


def test_tasks_due_at_the_same_moment_go_by_their_ids(conn: psycopg.Connection) -> None:
    make_worker(conn)
    same = make_tasks(conn, 3, scheduled_at=clock(conn) - timedelta(seconds=5))
    assert [said(conn, task_id).split()[-4] for task_id in same] == ["1", "2", "3"]


BACKLOG = """
insert into pgq.tasks (queue, task, timeout, max_attempts, priority, scheduled_at)
select 'jobs', 'work', 60, 5, n %% 11, clock_timestamp() - interval '1 ms' * n from generate_series(1, %s) as n
"""
IN_ORDER = "select id from pgq.tasks order by priority, scheduled_at, id"


@pytest.mark.parametrize("mode", ["auto", "force_generic_plan", "force_custom_plan"])
def test_a_backlog_is_counted_up_to_a_thousand_and_read_no_further(conn: psycopg.Connection, mode: str) -> None:
    make_queue(conn)
    make_worker(conn)
    conn.execute(sql.SQL("set plan_cache_mode = {}").format(sql.Literal(mode)))
    conn.execute(BACKLOG, (60_000,))
    line = [task_id for (task_id,) in conn.execute(IN_ORDER)]
    assert said(conn, line[0]) == "due; it is number 1 of its queue"
    assert said(conn, line[999]) == "due; it is number 1000 of its queue"
    for task_id in (line[1000], line[-1]):
        assert said(conn, task_id) == "due, behind at least 1000 others of its queue"
    assert pages(conn, line[0]) < 200
    assert pages(conn, line[-1]) < 500


def pages(conn: psycopg.Connection, task_id: int) -> int:
    """Return how many pages are read to explain a task."""
    query = "explain (analyze, buffers, format json) select pgq.explain(%s)"
    ((document,),) = conn.execute(query, (task_id,)).fetchall()
    plan = document[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
