"""The demo's database: the schema of pgq, the four queues, and a schema `pgq_demo` for the shop's own table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from psycopg.conninfo import make_conninfo

from pgq import embedded
from pgq.connect import connect
from pgq.demo.app import app
from pgq.errors import ConfigError
from pgq.migrate import migrate

NAME = "pgq_demo"
_OURS = (list(app.queues), list(app.handlers))


def embedded_servers(redis_url: str) -> embedded.Servers:
    """Start or join the embedded servers; the DSN is that of the demo's own database there. A Redis given is used."""
    servers = embedded.up(redis=not redis_url)
    there_already = (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation)
    with connect(servers.dsn, "demo") as conn, suppress(*there_already):
        conn.execute(f"create database {NAME}")
    return embedded.Servers(make_conninfo(servers.dsn, dbname=NAME), redis_url or servers.redis_url)


@contextmanager
def prepared(dsn: str) -> Iterator[psycopg.Connection]:
    """Open the database, ready for a fresh run. Raises ConfigError when it is in use by a demo or an application."""
    with alone(dsn), connect(dsn, "demo") as conn:
        migrate(conn)
        with conn.transaction():
            refuse_a_real_application(conn)
            start_over(conn)
            app.declare(conn)
        yield conn


@contextmanager
def alone(dsn: str) -> Iterator[None]:
    """Keep other demos out of the database meanwhile. Raises ConfigError when one is there.

    The lock is that of an open transaction: a pooler would give a session, and its locks, to the next who asks.
    """
    with connect(dsn, "demo lock") as conn:
        conn.execute("begin")
        if conn.execute("select pg_try_advisory_xact_lock(hashtext(%s))", (NAME,)).fetchone() == (False,):
            raise ConfigError("another demo is running in this database")
        yield


def refuse_a_real_application(conn: psycopg.Connection) -> None:
    """Raise ConfigError where queues of these names exist and no earlier demo made them."""
    rows = conn.execute(
        "select name from pgq.queues where to_regnamespace(%s) is null and name = any(%s) order by name",
        (NAME, list(app.queues)),
    ).fetchall()
    if rows:
        raise ConfigError(f"this database has a queue {rows[0][0]!r} of its own: give the demo another database")


def start_over(conn: psycopg.Connection) -> None:
    """Cancel what an interrupted demo left in the queues, and make the shop's table anew."""
    conn.execute(
        "select pgq.cancel(id) from pgq.tasks"
        " where queue = any(%s) and task = any(%s) and status in ('pending', 'processing')",
        _OURS,
    )
    conn.execute(f"drop schema if exists {NAME} cascade")
    conn.execute(f"create schema {NAME}")
    conn.execute(
        f"create table {NAME}.orders (id integer generated always as identity primary key, customer text not null,"
        " total numeric(12, 2) not null, created_at timestamptz not null default now())",
    )


def limit_prefix(conn: psycopg.Connection) -> str:
    """Return what the demo's names in Redis begin with: its limits are not those of an application of that server.

    They are below `pgq:`, where the user of `pgq limits acl` may go.
    """
    ((database,),) = conn.execute("select oid from pg_database where datname = current_database()").fetchall()
    return f"pgq:demo-{database}"


def newest_task(conn: psycopg.Connection) -> int:
    """Return a task id that every later task exceeds."""
    ((task_id,),) = conn.execute("select nextval('pgq.task_id')").fetchall()
    return int(task_id)
