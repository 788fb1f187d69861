"""make, seal, carry_forward, drop: the life of a day of pgq.tasks."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from factory import ENDED, clock, held, key_holder, make_day, make_task, make_worker, task_row
from stages import claim, complete

from pgq.migrate import migrate


def at(conn: psycopg.Connection, days: int) -> Any:
    """Return noon of the day `days` from today (UTC)."""
    today = clock(conn).astimezone(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    return today + timedelta(days=days)


def call(conn: psycopg.Connection, function: str, *arguments: Any) -> Any:
    marks = ", ".join(["%s"] * len(arguments))
    return conn.execute(f"select pgq.{function}({marks})", arguments).fetchone()[0]


def sealed_at(conn: psycopg.Connection, leaf: str) -> Any:
    return conn.execute("select sealed_at from pgq.partitions where name = %s", (leaf,)).fetchone()[0]


def test_installing_makes_today_and_a_week_ahead(conn: psycopg.Connection) -> None:
    today = clock(conn).astimezone(UTC).date()
    names = [row[0] for row in conn.execute("select name from pgq.partitions order by starts_at")]
    assert names == [f"tasks_{today + timedelta(days=days):%Y%m%d}" for days in range(8)]


def test_a_day_begins_and_ends_at_midnight_utc_whatever_the_session_says(conn: psycopg.Connection) -> None:
    conn.execute("set timezone = 'Asia/Kolkata'")
    conn.execute("select pgq.make_partition('2040-02-29')")
    bounds = conn.execute("select starts_at, ends_at from pgq.partitions where name = 'tasks_20400229'").fetchone()
    assert bounds == (datetime(2040, 2, 29, tzinfo=UTC), datetime(2040, 3, 1, tzinfo=UTC))
    first, last = bounds[0], bounds[1] - timedelta(microseconds=1)
    leaves = [task_row(conn, make_task(conn, scheduled_at=moment)).leaf for moment in (first, last, bounds[1])]
    assert leaves == ["pgq.tasks_20400229", "pgq.tasks_20400229", "pgq.tasks_default"]


def test_a_day_is_made_once(conn: psycopg.Connection) -> None:
    assert call(conn, "make_partition", "2040-01-01") is True
    assert call(conn, "make_partition", "2040-01-01") is False


def test_a_day_has_the_indexes_the_checks_and_the_defaults_of_the_table(conn: psycopg.Connection) -> None:
    conn.execute("select pgq.make_partition('2040-01-01')")
    queries = {
        "indexes": "select regexp_replace(pg_get_indexdef(indexrelid), '.* USING', '') from pg_index"
        " where indrelid = '{}'::regclass order by 1",
        "checks": "select pg_get_constraintdef(oid) from pg_constraint"
        " where conrelid = '{}'::regclass and contype in ('c', 'p') order by 1",
        "defaults": "select pg_get_expr(adbin, adrelid) from pg_attrdef where adrelid = '{}'::regclass order by 1",
    }
    for query in queries.values():
        table = conn.execute(query.format("pgq.tasks")).fetchall()
        assert table
        assert conn.execute(query.format("pgq.tasks_20400101")).fetchall() == table


def test_every_leaf_is_vacuumed_early_and_without_pauses(conn: psycopg.Connection) -> None:
    rows = conn.execute(
        "select c.relname, coalesce(array_to_string(c.reloptions, ','), '') from pg_inherits"
        " join pg_class as c on c.oid = inhrelid where inhparent = 'pgq.tasks'::regclass"
    ).fetchall()
    assert len(rows) == 9
    assert [name for name, options in rows if "autovacuum_vacuum_cost_delay=0" not in options] == []


def test_rows_that_waited_in_the_default_partition_move_into_their_day(conn: psycopg.Connection) -> None:
    inside = [make_task(conn, scheduled_at=at(conn, 30), status=status) for status in ("pending", "dead", "processing")]
    outside = make_task(conn, scheduled_at=at(conn, 31))
    before = [task_row(conn, task_id)._replace(leaf="") for task_id in inside]
    leaf = make_day(conn, 30)
    rows = [task_row(conn, task_id) for task_id in inside]
    assert {row.leaf for row in rows} == {f"pgq.{leaf}"}
    assert [row._replace(leaf="") for row in rows] == before
    assert task_row(conn, outside).leaf == "pgq.tasks_default"


def test_a_task_whose_row_moved_with_its_day_can_still_be_completed(conn: psycopg.Connection) -> None:
    task = held(conn, make_task(conn, scheduled_at=at(conn, 30), status="processing"))
    make_day(conn, 30)
    assert complete(conn, task) == [task.id]


@pytest.mark.parametrize("status", ["pending", "processing"])
def test_a_day_with_something_to_do_is_not_sealed(conn: psycopg.Connection, status: str) -> None:
    leaf = make_day(conn, -2)
    make_task(conn, scheduled_at=at(conn, -2), status=status)
    assert call(conn, "seal_partition", leaf) is False
    assert sealed_at(conn, leaf) is None


def test_a_day_whose_tasks_all_ended_is_sealed_once(conn: psycopg.Connection) -> None:
    leaf = make_day(conn, -2)
    for status in sorted(ENDED):
        make_task(conn, scheduled_at=at(conn, -2), status=status)
    assert call(conn, "seal_partition", leaf) is True
    first = sealed_at(conn, leaf)
    assert call(conn, "seal_partition", leaf) is False
    assert sealed_at(conn, leaf) == first


def test_a_day_with_an_enqueue_in_flight_is_not_sealed(conn: psycopg.Connection, dsn: str) -> None:
    leaf = make_day(conn, -2)
    with psycopg.connect(dsn) as other:
        make_task(other, scheduled_at=at(other, -2))
        conn.execute("set lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            call(conn, "seal_partition", leaf)
        other.commit()
    assert call(conn, "seal_partition", leaf) is False
    assert sealed_at(conn, leaf) is None


def test_what_must_outlive_its_day_is_carried_to_today(conn: psycopg.Connection) -> None:
    leaf, today = make_day(conn, -2), make_day(conn, 0)
    kept = [make_task(conn, scheduled_at=at(conn, -2), status=status) for status in ("dead", "pending", "dead")]
    gone = [make_task(conn, scheduled_at=at(conn, -2), status=status) for status in ("completed", "processing")]
    before = clock(conn)
    assert call(conn, "carry_forward", leaf, 2) == 2
    assert call(conn, "carry_forward", leaf, 2) == 1
    assert call(conn, "carry_forward", leaf, 2) == 0
    assert {task_row(conn, task_id).leaf for task_id in kept} == {f"pgq.{today}"}
    assert all(before <= task_row(conn, task_id).scheduled_at <= clock(conn) for task_id in kept)
    assert {task_row(conn, task_id).leaf for task_id in gone} == {f"pgq.{leaf}"}


def test_a_carried_row_keeps_everything_but_its_due_time(conn: psycopg.Connection) -> None:
    leaf = make_day(conn, -2)
    task_id = make_task(conn, scheduled_at=at(conn, -2), status="dead", last_error="e", attempts=5)
    before = task_row(conn, task_id)
    call(conn, "carry_forward", leaf, 10)
    after = task_row(conn, task_id)
    assert after._replace(leaf=before.leaf, scheduled_at=before.scheduled_at) == before


def test_a_carried_pending_task_is_claimed_from_its_new_place_with_its_key(conn: psycopg.Connection) -> None:
    leaf = make_day(conn, -2)
    task_id = make_task(conn, scheduled_at=at(conn, -2), unique_key="k")
    call(conn, "carry_forward", leaf, 10)
    assert key_holder(conn, "k") == task_id
    assert [task.id for task in claim(conn, make_worker(conn))] == [task_id]


def test_rows_that_somebody_holds_are_carried_later(conn: psycopg.Connection, dsn: str) -> None:
    leaf = make_day(conn, -2)
    task_id = make_task(conn, scheduled_at=at(conn, -2), status="dead")
    with psycopg.connect(dsn) as other:
        other.execute("select from pgq.tasks where id = %s for update", (task_id,))
        assert call(conn, "carry_forward", leaf, 10) == 0
    assert call(conn, "carry_forward", leaf, 10) == 1


@pytest.mark.parametrize("status", ["pending", "processing", "dead"])
def test_a_day_that_holds_a_row_to_keep_is_not_dropped(conn: psycopg.Connection, status: str) -> None:
    leaf = make_day(conn, -2)
    task_id = make_task(conn, scheduled_at=at(conn, -2), status=status)
    assert call(conn, "drop_partition", leaf) is False
    assert task_row(conn, task_id).leaf == f"pgq.{leaf}"


def test_a_day_that_holds_only_history_is_dropped(conn: psycopg.Connection) -> None:
    leaf = make_day(conn, -2)
    for status in ("completed", "failed", "cancelled"):
        make_task(conn, scheduled_at=at(conn, -2), status=status)
    assert call(conn, "drop_partition", leaf) is True
    assert conn.execute("select to_regclass(%s)", (f"pgq.{leaf}",)).fetchone() == (None,)
    assert conn.execute("select count(*) from pgq.partitions where name = %s", (leaf,)).fetchone() == (0,)
    assert conn.execute("select count(*) from pgq.tasks").fetchone() == (0,)


@pytest.mark.parametrize("function", ["seal_partition", "drop_partition"])
def test_a_reader_in_the_way_is_waited_for_no_longer_than_the_lock_timeout(
    conn: psycopg.Connection, dsn: str, function: str
) -> None:
    leaf = make_day(conn, -2)
    with psycopg.connect(dsn) as other:
        other.execute(f"lock table pgq.{leaf} in row exclusive mode")
        conn.execute("set lock_timeout = '200ms'")
        began = time.monotonic()
        with pytest.raises(psycopg.errors.LockNotAvailable):
            call(conn, function, leaf)
        assert time.monotonic() - began < 2
    assert conn.execute("select count(*) from pgq.partitions where name = %s", (leaf,)).fetchone() == (1,)


def test_a_day_that_was_dropped_can_be_made_again(conn: psycopg.Connection) -> None:
    leaf = make_day(conn, -2)
    call(conn, "drop_partition", leaf)
    assert make_day(conn, -2) == leaf


def test_migrating_again_makes_nothing_twice(conn: psycopg.Connection) -> None:
    before = conn.execute("select count(*) from pgq.partitions").fetchone()
    assert migrate(conn) == []
    assert conn.execute("select count(*) from pgq.partitions").fetchone() == before


def test_a_day_of_many_ended_tasks_is_not_read_through_while_everybody_waits_for_its_drop(
    conn: psycopg.Connection,
) -> None:
    leaf, task_id = make_day(conn, -40), make_task(conn, status="dead", scheduled_at=at(conn, -40))
    conn.execute(
        "insert into pgq.tasks (queue, task, status, timeout, max_attempts, scheduled_at, completed_at)"
        " select queue, task, 'completed', 1, 1, scheduled_at, completed_at from pgq.tasks, generate_series(1, 5000)"
    )
    conn.execute(f"analyze pgq.{leaf}")
    read = "select seq_tup_read from pg_stat_xact_user_tables where relname = %s"
    with conn.transaction():
        before = conn.execute(read, (leaf,)).fetchone()
        assert call(conn, "drop_partition", leaf) is False
        assert conn.execute(read, (leaf,)).fetchone() == before
    assert task_row(conn, task_id).status == "dead"
