"""park: tasks of an exhausted key leave the head of the queue in bulk, in order, one turn each."""

from __future__ import annotations

from typing import Any

import psycopg
from factory import QUEUE, make_queue, make_task, task_row

from pgq.cursor import PRIORITIES
from pgq.db import Call, run

KEY = "customer:acme"


def park(conn: psycopg.Connection, **changes: Any) -> list[tuple[Any, ...]]:
    values = {
        "queue": QUEUE,
        "key": KEY,
        "priorities": PRIORITIES,
        "count": 100,
        "reach": 1000,
        "first": 10.0,
        "step": 2.0,
    }
    return run(conn, Call("park", values | changes))


def waits(conn: psycopg.Connection) -> dict[int, float]:
    """Return the seconds until each task is due."""
    rows = conn.execute(
        "select id, extract(epoch from scheduled_at - clock_timestamp())::float8 from pgq.tasks order by id"
    ).fetchall()
    return dict(rows)


def test_each_task_is_sent_one_turn_further_in_order(conn: psycopg.Connection) -> None:
    make_queue(conn)
    low = make_task(conn, priority=8, limit_keys=[KEY])
    first = make_task(conn, priority=5, limit_keys=[KEY])
    second = make_task(conn, priority=5, limit_keys=["host:h", KEY])
    rows = park(conn)
    assert [(priority, count) for priority, count, _ in rows] == [(5, 2), (8, 1)]
    assert [last for _, _, last in rows] == [14.0, 16.0]
    due = waits(conn)
    assert [round(due[task]) for task in (first, second, low)] == [12, 14, 16]
    told = conn.execute("select distinct throttled_by, bounces, status::text, attempts from pgq.tasks").fetchall()
    assert told == [(KEY, 1, "pending", 0)]


def test_others_stay_where_they_are(conn: psycopg.Connection) -> None:
    make_queue(conn)
    make_queue(conn, "other")
    stay = [
        make_task(conn, limit_keys=["customer:other"]),
        make_task(conn),
        make_task(conn, limit_keys=[KEY], bounces=1),  # its turn came
        make_task(conn, queue="other", limit_keys=[KEY]),
        make_task(conn, limit_keys=[KEY], status="processing"),
    ]
    before = conn.execute("select id, scheduled_at from pgq.tasks order by id").fetchall()
    assert park(conn) == []
    assert conn.execute("select id, scheduled_at from pgq.tasks order by id").fetchall() == before
    assert len(before) == len(stay)


def test_no_more_go_than_asked_for_and_the_most_urgent_first(conn: psycopg.Connection) -> None:
    make_queue(conn)
    late = [make_task(conn, priority=9, limit_keys=[KEY]) for _ in range(3)]
    early = [make_task(conn, priority=1, limit_keys=[KEY]) for _ in range(3)]
    assert sum(count for _, count, _ in park(conn, count=4)) == 4
    due = waits(conn)
    assert sum(due[task] > 1 for task in early) == 3
    assert sum(due[task] > 1 for task in late) == 1


def test_it_looks_only_so_far(conn: psycopg.Connection) -> None:
    make_queue(conn)
    for _ in range(5):
        make_task(conn)
    far = make_task(conn, limit_keys=[KEY])
    assert park(conn, reach=4) == []
    assert [count for _, count, _ in park(conn, reach=5)] == [1]
    assert waits(conn)[far] > 1


def test_beyond_the_hour_nobody_has_a_turn_yet(conn: psycopg.Connection) -> None:
    make_queue(conn)
    tasks = [make_task(conn, limit_keys=[KEY]) for _ in range(20)]
    ((_, count, last),) = park(conn, first=3_590.0, step=5.0)
    assert (count, last) == (20, 3_600.0)
    due = waits(conn)
    assert sum(due[task] <= 3_600 for task in tasks) == 2
    beyond = [due[task] for task in tasks if due[task] > 3_600]
    assert len(set(map(round, beyond))) > 3  # they do not come back at once
    assert max(beyond) <= 7_200
    bounces = conn.execute("select bounces, count(*) from pgq.tasks group by 1 order by 1").fetchall()
    assert bounces == [(0, 18), (1, 2)]


def test_a_task_that_another_session_holds_is_left_out(conn: psycopg.Connection, dsn: str) -> None:
    make_queue(conn)
    held, free = (make_task(conn, limit_keys=[KEY]) for _ in range(2))
    with psycopg.connect(dsn) as other:
        other.execute("select id from pgq.tasks where id = %s for update", (held,))
        assert [count for _, count, _ in park(conn)] == [1]
    due = waits(conn)
    assert due[free] > 1 > due[held]


def crowd(conn: psycopg.Connection, **changes: Any) -> dict[int, Any]:
    values = {"queue": QUEUE, "key": KEY, "priorities": PRIORITIES, "reach": 1000}
    return {priority: ends for priority, ends in run(conn, Call("crowd", values | changes)) if ends is not None}


def test_a_crowd_ends_with_the_last_of_its_tasks_that_has_not_been_sent_away(conn: psycopg.Connection) -> None:
    make_queue(conn)
    make_queue(conn, "other")
    make_task(conn, limit_keys=[KEY], due=-60)
    last = make_task(conn, limit_keys=["host:h", KEY], due=-50)
    make_task(conn, due=-40)
    make_task(conn, limit_keys=["customer:other"], due=-40)
    make_task(conn, limit_keys=[KEY], due=-40, bounces=1)
    make_task(conn, limit_keys=[KEY], due=60)
    make_task(conn, limit_keys=[KEY], due=-40, status="processing")
    make_task(conn, limit_keys=[KEY], due=-40, queue="other")
    make_task(conn, priority=0)
    urgent = make_task(conn, limit_keys=[KEY], due=-5, priority=1)
    assert crowd(conn) == {5: task_row(conn, last).scheduled_at, 1: task_row(conn, urgent).scheduled_at}


def test_behind_very_many_others_the_end_of_a_crowd_is_not_looked_for(conn: psycopg.Connection) -> None:
    make_queue(conn)
    make_task(conn, limit_keys=[KEY], due=-60)
    others = [make_task(conn, due=number - 50) for number in range(4)]
    assert crowd(conn, reach=3) == {5: task_row(conn, others[0]).scheduled_at}
    assert crowd(conn, reach=5)[5] < task_row(conn, others[0]).scheduled_at
