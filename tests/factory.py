"""Rows in any state, written straight into the tables: what a test needs to exist before it begins."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import namedtuple_row

from pgq.task import Task

QUEUE = "jobs"
ENDED = frozenset({"completed", "failed", "dead", "cancelled"})


def make_queue(conn: psycopg.Connection, name: str = QUEUE, **columns: Any) -> str:
    """Insert a queue, or change the one that exists; returns its name."""
    insert(conn, "queues", {"name": name, **columns}, conflict="name")
    return name


def make_worker(conn: psycopg.Connection, *, silent_for: float = 0.0, lease: float = 30.0, **columns: Any) -> int:
    """Insert a worker whose last heartbeat was `silent_for` seconds ago; returns its id."""
    defaults = {
        "name": f"w-{uuid.uuid4().hex[:8]}",
        "host": "test",
        "pid": 1,
        "queues": [QUEUE],
        "concurrency": 1,
        "version": "0",
        "lease": lease,
        "heartbeat_at": clock(conn) - timedelta(seconds=silent_for),
    }
    return insert(conn, "workers", {**defaults, **columns}).id


def make_task(conn: psycopg.Connection, *, due: float = 0.0, running_for: float = 0.0, **columns: Any) -> int:
    """Insert a task that is due in `due` seconds (negative: was), in any status; returns its id.

    What its status implies is filled in: a lease and a start `running_for` seconds ago where it is processed, an end
    where it ended, the unique key where it has not. The queue is made if it is missing.
    """
    now = clock(conn)
    status = columns.get("status", "pending")
    defaults: dict[str, Any] = {
        "queue": QUEUE,
        "task": "work",
        "timeout": 60.0,
        "max_attempts": 5,
        "scheduled_at": now + timedelta(seconds=due),
    }
    if status != "pending":
        defaults |= {"attempts": 1, "started_at": now - timedelta(seconds=running_for)}
    if status == "processing":
        defaults |= {"lease": uuid.uuid4()}
    if status in ENDED:
        defaults |= {"completed_at": now}
    values = defaults | columns
    conn.execute("insert into pgq.queues (name) values (%s) on conflict do nothing", (values["queue"],))
    row = insert(conn, "tasks", values)
    if row.unique_key is not None and status not in ENDED:
        insert(conn, "unique_keys", {"queue": row.queue, "key": row.unique_key, "task_id": row.id})
    return row.id


def make_tasks(conn: psycopg.Connection, count: int, **columns: Any) -> list[int]:
    """Insert that many tasks alike; returns their ids."""
    return [make_task(conn, **columns) for _ in range(count)]


def make_day(conn: psycopg.Connection, days: int) -> str:
    """Make the partition of the day `days` from today (UTC; negative: past); returns its name."""
    (name,) = conn.execute(
        "with day as (select (clock_timestamp() at time zone 'UTC')::date + %s as date),"
        " made as (select pgq.make_partition(date) from day)"
        " select 'tasks_' || to_char(date, 'YYYYMMDD') from day cross join made",
        (days,),
    ).fetchone()
    return name


def task_row(conn: psycopg.Connection, task_id: int) -> Any:
    """Return a task's row as a named tuple, with the partition it lies in as `leaf`; None when there is none."""
    cursor = conn.cursor(row_factory=namedtuple_row)
    return cursor.execute(
        "select t.*, t.tableoid::regclass::text as leaf from pgq.tasks as t where id = %s", (task_id,)
    ).fetchone()


def held(conn: psycopg.Connection, task_id: int) -> Task:
    """Return a task that is being processed the way its worker knows it."""
    row = task_row(conn, task_id)
    return Task(**{name: getattr(row, name) for name in Task.__slots__})


def key_holder(conn: psycopg.Connection, key: str, queue: str = QUEUE) -> int | None:
    """Return the id of the task that holds a unique key, or None."""
    query = "select task_id from pgq.unique_keys where queue = %s and key = %s"
    row = conn.execute(query, (queue, key)).fetchone()
    return row and row[0]


def counts(conn: psycopg.Connection, queue: str = QUEUE) -> dict[str, int]:
    """Return what was counted for a queue in all minutes, without the zeros."""
    columns = ("completed", "failed", "dead", "cancelled", "retried")
    sums = ", ".join(f"coalesce(sum({column}), 0)::bigint" for column in columns)
    row = conn.execute(f"select {sums} from pgq.counts where queue = %s", (queue,)).fetchone()
    return {column: count for column, count in zip(columns, row, strict=True) if count}


def clock(conn: psycopg.Connection) -> Any:
    """Return the database's clock."""
    return conn.execute("select clock_timestamp()").fetchone()[0]


def insert(conn: psycopg.Connection, table: str, columns: Mapping[str, Any], *, conflict: str = "") -> Any:
    """Insert one row into a table of the schema and return it as a named tuple; `conflict`: change one that exists."""
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    values = sql.SQL(", ").join(map(sql.Placeholder, columns))
    query = sql.SQL("insert into pgq.{} ({}) values ({})").format(sql.Identifier(table), names, values)
    if conflict:
        changes = sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in columns)
        query += sql.SQL(" on conflict ({}) do update set {}").format(sql.Identifier(conflict), changes)
    return conn.cursor(row_factory=namedtuple_row).execute(query + sql.SQL(" returning *"), columns).fetchone()
