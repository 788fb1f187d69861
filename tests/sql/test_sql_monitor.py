"""pgq_monitor: reads how it goes, not what is in it; is made by migrate where that may, whoever else migrates."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from factory import make_task
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgq import embedded, migrate

HIDDEN = {
    ("alert_targets", "settings"),
    ("tasks", "payload"), ("tasks", "unique_key"), ("tasks", "traceback"), ("tasks", "lease"),
    ("dead_tasks", "payload"),
    ("dead_tasks", "traceback"), ("attempts", "traceback"), ("unique_keys", "key"),
}  # fmt: skip


@pytest.fixture
def dsn(direct_dsn: str) -> str:
    """Return the database itself: `set role` is of a session."""
    return direct_dsn


def test_the_monitor_reads_every_column_but_those_that_may_be_secret(conn: psycopg.Connection) -> None:
    make_task(conn)
    columns = conn.execute(
        "select c.relname, a.attname from pg_class as c"
        " inner join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped"
        " where c.relnamespace = 'pgq'::regnamespace and c.relkind in ('r', 'p', 'v') and not c.relispartition"
    ).fetchall()
    refused = set()
    conn.execute("set role pgq_monitor")
    for table, column in columns:
        query = sql.SQL("select {} from {}").format(sql.Identifier(column), sql.Identifier("pgq", table))
        try:
            conn.execute(query)
        except psycopg.errors.InsufficientPrivilege:
            refused.add((table, column))
    assert refused == HIDDEN


def test_the_monitor_asks_why_a_task_does_not_run_and_changes_nothing(conn: psycopg.Connection) -> None:
    task = make_task(conn)
    conn.execute("set role pgq_monitor")
    assert conn.execute("select pgq.explain(%s)", (task,)).fetchone()[0].startswith("due, but no worker")
    for change in ("select pgq.cancel(%s)", "select pgq.retry(%s)", "delete from pgq.tasks where id = %s"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(change, (task,))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute("select pgq.enqueue('jobs', 'work')")


@pytest.mark.slow
def test_databases_that_migrate_at_once_make_the_role_once_and_who_may_not_goes_on_without() -> None:
    with embedded.temporary() as servers:
        with psycopg.connect(servers.dsn, autocommit=True) as conn:
            conn.execute("create role poor login")
            for number in range(4):
                conn.execute(f"create database d{number}")
            conn.execute("create database poors owner poor")
        there = "select count(*) from pg_roles where rolname = 'pgq_monitor'"
        with psycopg.connect(make_conninfo(servers.dsn, dbname="poors", user="poor"), autocommit=True) as conn:
            migrate.migrate(conn)
            assert conn.execute(there).fetchone() == (0,)
            assert conn.execute("select count(*) from pgq.health").fetchone() == (19,)
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(lambda number: _migrate(servers.dsn, f"d{number}"), range(4)))
        # What the administrator made is used at the next migrate, by an owner who may not make roles.
        with psycopg.connect(make_conninfo(servers.dsn, dbname="poors", user="poor"), autocommit=True) as conn:
            assert conn.execute(there).fetchone() == (1,)
            assert migrate.migrate(conn) == []
            query = "select has_column_privilege('pgq_monitor', 'pgq.queue_stats', 'pending', 'select')"
            assert conn.execute(query).fetchone() == (True,)


def _migrate(dsn: str, name: str) -> bool:
    with psycopg.connect(make_conninfo(dsn, dbname=name), autocommit=True) as conn:
        migrate.migrate(conn)
        query = "select has_column_privilege('pgq_monitor', 'pgq.queue_stats', 'pending', 'select')"
        ((may,),) = conn.execute(query).fetchall()
        return bool(may)
