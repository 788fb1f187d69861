"""The servers of a run: an embedded Postgres with durability on and an embedded Valkey, or those you name."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import make_conninfo

from benchmarks.app import app
from pgq import embedded, migrate
from pgq.embedded import Servers

# Everything else is Postgres's default. Never weaken the first three: a figure without durability is another figure.
SETTINGS: Mapping[str, object] = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "2GB",
    "max_connections": 600,  # 64 worker processes, or 100 clients; by itself it costs nothing
}


@contextmanager
def servers(dsn: str, redis_url: str, settings: Mapping[str, object]) -> Iterator[Servers]:
    """Yield servers of this run: those named, else embedded ones; beside a named Postgres no Redis but a named one.

    In the Postgres databases may be created.
    """
    if dsn:
        yield Servers(dsn, redis_url)
        return
    with embedded.temporary(redis=not redis_url, settings={**SETTINGS, **settings}) as own:
        yield Servers(own.dsn, redis_url or own.redis_url)


@contextmanager
def database(server_dsn: str) -> Iterator[str]:
    """Yield the DSN of a fresh database with the schema and the benchmark's queue; drop it afterwards."""
    with empty_database(server_dsn) as dsn:
        with psycopg.connect(dsn, autocommit=True) as conn:
            migrate.migrate(conn)
            app.declare(conn)
        yield dsn


@contextmanager
def empty_database(server_dsn: str) -> Iterator[str]:
    """Yield the DSN of a fresh database with nothing in it; drop it afterwards."""
    name = f"pgq_bench_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(f"create database {name}")
        try:
            yield make_conninfo(server_dsn, dbname=name)
        finally:
            admin.execute(f"drop database {name} with (force)")
