"""Servers of our own to maltreat: a durable Postgres that may be restarted, and what can stand in front of it."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from pgq import embedded, migrate

SETTINGS = {"max_connections": 200, "shared_buffers": "128MB"}  # and durable: nothing is switched off


@contextmanager
def durable_postgres() -> Iterator[embedded.Postgres]:
    """Run a server that keeps its promises, and remove every trace at the end."""
    home = Path(tempfile.mkdtemp(prefix="pgq-faults-", dir="/tmp"))
    home.chmod(0o755)
    try:
        yield embedded.Postgres(home, SETTINGS).start()
    finally:
        embedded.down(home)
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def fresh_database(server: str) -> Iterator[str]:
    """Make a database with the schema and return its DSN."""
    name = f"faults_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"create database {name}")
    dsn = make_conninfo(server, dbname=name)
    with psycopg.connect(dsn, autocommit=True) as conn:
        migrate.migrate(conn)
    yield dsn
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"drop database {name} with (force)")
