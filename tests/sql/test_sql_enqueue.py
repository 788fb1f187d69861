"""enqueue, enqueue_many, copy_defaults: new rows, by statement and by SQL function."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from factory import QUEUE, clock, make_day, make_queue, task_row

from pgq.db import Call, run
from pgq.enqueue import COPIED, LIMITED, many, one
from pgq.errors import InvalidOption, UnknownQueue
from pgq.migrate import steps
from pgq.options import Options

OPTIONS = Options()


@pytest.fixture(autouse=True)
def queue(conn: psycopg.Connection) -> Any:
    return make_queue(conn, timeout=7, max_attempts=3)


def by_statement(conn: psycopg.Connection, payload: str = "{}", **options: Any) -> Any:
    return run(conn, one(QUEUE, "work", payload, Options(**options)))[0][0]


def by_function(conn: psycopg.Connection, payload: str = "{}", **options: Any) -> Any:
    chosen = "".join(f", {name} => %({name})s" for name in options)
    values = {"payload": payload, **options}
    (task_id,) = conn.execute(f"select pgq.enqueue('jobs', 'work', %(payload)s::text{chosen})", values).fetchone()
    return task_id


def by_many(conn: psycopg.Connection, payload: str = "{}", **options: Any) -> Any:
    ((ids, _),) = run(conn, many(QUEUE, "work", [payload], Options(**options)))
    return ids[0]


DOORS = [by_statement, by_function, by_many]
every_door = pytest.mark.parametrize("enqueue", DOORS)


@every_door
def test_the_queue_gives_what_the_caller_does_not_say(conn: psycopg.Connection, enqueue: Callable[..., Any]) -> None:
    before = clock(conn)
    row = task_row(conn, enqueue(conn, '{"a": [1, "b"]}'))
    assert (row.status, row.priority, row.attempts, row.lease) == ("pending", 5, 0, None)
    assert (row.queue, row.task, row.payload) == (QUEUE, "work", {"a": [1, "b"]})
    assert (row.timeout, row.max_attempts) == (7, 3)
    assert before <= row.scheduled_at <= clock(conn)
    assert before <= row.created_at <= clock(conn)


@every_door
def test_what_the_caller_says_wins(conn: psycopg.Connection, enqueue: Callable[..., Any]) -> None:
    row = task_row(conn, enqueue(conn, priority=0, timeout=1.5, max_attempts=9))
    assert (row.priority, row.timeout, row.max_attempts) == (0, 1.5, 9)


@every_door
def test_a_delay_counts_from_now(conn: psycopg.Connection, enqueue: Callable[..., Any]) -> None:
    before = clock(conn)
    row = task_row(conn, enqueue(conn, delay=timedelta(seconds=90)))
    assert before + timedelta(seconds=90) <= row.scheduled_at <= clock(conn) + timedelta(seconds=90)


@every_door
def test_a_due_time_in_the_future_is_kept_exactly(conn: psycopg.Connection, enqueue: Callable[..., Any]) -> None:
    moment = clock(conn) + timedelta(hours=1)
    assert task_row(conn, enqueue(conn, scheduled_at=moment)).scheduled_at == moment


@every_door
@pytest.mark.parametrize("moment", [datetime(1, 1, 2, tzinfo=UTC), datetime.now(UTC) - timedelta(days=1)])
def test_a_due_time_in_the_past_is_taken_as_now(
    conn: psycopg.Connection, enqueue: Callable[..., Any], moment: datetime
) -> None:
    before = clock(conn)
    row = task_row(conn, enqueue(conn, scheduled_at=moment))
    assert before <= row.scheduled_at <= clock(conn)


@every_door
def test_a_task_of_today_lies_in_the_partition_of_today_and_a_far_one_in_the_default(
    conn: psycopg.Connection, enqueue: Callable[..., Any]
) -> None:
    today = make_day(conn, 0)
    assert task_row(conn, enqueue(conn)).leaf == f"pgq.{today}"
    assert task_row(conn, enqueue(conn, delay=timedelta(days=400))).leaf == "pgq.tasks_default"


@every_door
def test_a_task_is_due_when_it_was_enqueued_not_when_the_transaction_began(
    conn: psycopg.Connection, enqueue: Callable[..., Any], dsn: str
) -> None:
    with psycopg.connect(dsn) as other:
        other.execute("select")
        began = clock(conn)
        assert task_row(other, enqueue(other)).scheduled_at > began


@every_door
def test_it_commits_or_not_with_the_callers_transaction(
    conn: psycopg.Connection, enqueue: Callable[..., Any], dsn: str
) -> None:
    with psycopg.connect(dsn) as other:
        task_id = enqueue(other)
        assert task_row(conn, task_id) is None
        other.rollback()
    assert task_row(conn, task_id) is None


def test_an_unknown_queue_is_an_error_in_sql(conn: psycopg.Connection) -> None:
    with pytest.raises(psycopg.Error) as caught:
        conn.execute("select pgq.enqueue('nope', 'work')")
    assert caught.value.sqlstate == "PQ001"
    assert "'nope'" in str(caught.value)


def test_an_unknown_queue_adds_nothing_by_statement(conn: psycopg.Connection) -> None:
    assert run(conn, one("nope", "work", "{}", OPTIONS)) == []
    assert run(conn, many("nope", "work", ["{}"], OPTIONS)) == [(None, None)]
    assert conn.execute("select count(*) from pgq.tasks").fetchone() == (0,)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("'jobs', ''", "task must be 1 to 200 characters, got 0"),
        ("'jobs', null", "task must be 1 to 200 characters, got null"),
        ("'jobs', repeat('x', 201)", "task must be 1 to 200 characters, got 201"),
        ("'jobs', 'work', priority => 11", "priority must be 0 to 10, got 11"),
        ("'jobs', 'work', priority => -1", "priority must be 0 to 10, got -1"),
        ("'jobs', 'work', priority => null", "priority must be 0 to 10, got null"),
        ("'jobs', 'work', max_attempts => 0", "max_attempts must be at least 1, got 0"),
        ("'jobs', 'work', timeout => 0", "timeout must be above 0 seconds, got 0"),
        ("'jobs', 'work', timeout => 'nan'", "timeout must be above 0 seconds, got NaN"),
        ("'jobs', 'work', timeout => 'infinity'", "timeout must be above 0 seconds, got Infinity"),
        ("'jobs', 'work', delay => '1 s', scheduled_at => now()", "give delay or scheduled_at, not both"),
        ("'jobs', 'work', scheduled_at => 'infinity'", "scheduled_at must be finite, got infinity"),
        ("'jobs', 'work', unique_key => ''", "unique_key must be 1 to 500 characters, got 0"),
        ("'jobs', 'work', unique_key => repeat('k', 501)", "unique_key must be 1 to 500 characters, got 501"),
        ("'jobs', 'work', unique_key => 'k', on_conflict => 'x'", "on_conflict must be raise, skip, replace"),
        ("'jobs', 'work', on_conflict => null", "on_conflict must be raise, skip, replace"),
        ("'jobs', 'work', '[]'::text", "payload must be a JSON object, got array"),
        ("'jobs', 'work', 'null'::text", "payload must be a JSON object, got null"),
        ("'jobs', 'work', '{'::text", "payload is no valid JSON"),
        ("'jobs', 'work', '{\"a\": \"\\u0000\"}'::text", "payload is no valid JSON"),
        ("'jobs', 'work', '{\"a\": \"\\ud800\"}'::text", "payload is no valid JSON"),
        ("'jobs', 'work', '{\"a\": 1e999999}'::text", "payload is no valid JSON"),
        ("'jobs', 'work', '{\"a\": \"' || repeat('x', 1048576) || '\"}'", "payload must be at most 1048576 bytes"),
    ],
)
def test_values_out_of_range_are_refused_by_name(conn: psycopg.Connection, arguments: str, complaint: str) -> None:
    with pytest.raises(psycopg.Error) as caught:
        conn.execute(f"select pgq.enqueue({arguments})")
    assert (caught.value.sqlstate, complaint in caught.value.diag.message_primary) == ("PQ002", True)
    assert conn.execute("select count(*) from pgq.tasks").fetchone() == (0,)


def test_an_untyped_literal_a_jsonb_and_a_text_are_all_payloads(conn: psycopg.Connection) -> None:
    for payload in ("'{\"a\": 1}'", "'{\"a\": 1}'::jsonb", "'{\"a\": 1}'::text", "jsonb_build_object('a', 1)"):
        (task_id,) = conn.execute(f"select pgq.enqueue('jobs', 'work', {payload}, priority => 2)").fetchone()
        row = task_row(conn, task_id)
        assert (row.payload, row.priority) == ({"a": 1}, 2)


def test_a_payload_is_kept_as_it_was_written(conn: psycopg.Connection) -> None:
    text = '{"b": 1.00, "a" : [1,  2]}'
    task_id = by_statement(conn, text)
    assert conn.execute("select payload::text from pgq.tasks where id = %s", (task_id,)).fetchone() == (text,)


def test_the_sql_function_takes_one_row_per_row_of_a_query(conn: psycopg.Connection) -> None:
    query = "select pgq.enqueue('jobs', 'work', jsonb_build_object('n', n)) from generate_series(1, 3) as n"
    ids = [row[0] for row in conn.execute(query).fetchall()]
    assert [task_row(conn, task_id).payload for task_id in ids] == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_many_ids_come_back_in_the_order_of_the_payloads(conn: psycopg.Connection) -> None:
    payloads = [f'{{"n": {n}}}' for n in range(500)]
    ((ids, rang),) = run(conn, many(QUEUE, "work", payloads, OPTIONS))
    assert [task_row(conn, task_id).payload["n"] for task_id in ids[:50]] == list(range(50))
    stored = conn.execute("select array_agg((payload ->> 'n')::int order by id) from pgq.tasks").fetchone()
    assert (ids, stored, rang) == (sorted(ids), (list(range(500)),), False)


def test_many_by_sql_come_back_in_the_order_of_the_payloads(conn: psycopg.Connection) -> None:
    query = (
        "select pgq.enqueue_many('jobs', 'work', array_agg(jsonb_build_object('n', n) order by n), priority => 1)"
        " from generate_series(0, 99) as n"
    )
    ids = [row[0] for row in conn.execute(query).fetchall()]
    rows = [task_row(conn, task_id) for task_id in ids]
    assert [(row.payload["n"], row.priority) for row in rows] == [(n, 1) for n in range(100)]


def test_one_bad_payload_of_many_adds_none(conn: psycopg.Connection) -> None:
    with pytest.raises(psycopg.Error):
        run(conn, many(QUEUE, "work", ["{}", "{"], OPTIONS))
    assert conn.execute("select count(*) from pgq.tasks").fetchone() == (0,)


def test_a_copy_gets_what_the_queue_would_give(conn: psycopg.Connection) -> None:
    before = clock(conn)
    values = {"queue": QUEUE, **OPTIONS.values()}
    ((created, due, attempts, timeout),) = run(conn, Call("copy_defaults", values))
    assert before <= created <= due <= clock(conn)
    assert (attempts, timeout) == (3, 7)
    assert run(conn, Call("copy_defaults", {**values, "queue": "nope"})) == []


def test_a_copy_names_columns_that_exist_with_their_types(conn: psycopg.Connection) -> None:
    query = "select column_name, udt_name from information_schema.columns where table_name = 'tasks'"
    there = dict(conn.execute(query).fetchall())
    spelled = {"_text": "text[]", "json": "text"}
    assert (COPIED | LIMITED).items() <= {name: spelled.get(kind, kind) for name, kind in there.items()}.items()


def test_our_sqlstates_become_our_errors(conn: psycopg.Connection) -> None:
    unique = {"unique_key": "k"}
    with pytest.raises(UnknownQueue, match="unknown queue 'nope'"):
        run(conn, one("nope", "work", "{}", Options(**unique)))
    with pytest.raises(InvalidOption, match="task must be 1 to 200 characters, got 0"):
        run(conn, one(QUEUE, "", "{}", Options(**unique)))


def test_the_installed_functions_are_those_of_the_files(conn: psycopg.Connection) -> None:
    (checksum,) = conn.execute("select checksum from pgq.migrations where version = 0").fetchone()
    assert checksum == steps()[-1].checksum
