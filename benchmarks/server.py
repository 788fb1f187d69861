"""The server of a run: an embedded Postgres with durability on, or the one you name; a fresh database per case."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import make_conninfo

from benchmarks.app import app
from pgq import embedded, migrate

# Everything else is Postgres's default. Never weaken the first three: a figure without durability is another figure.
SETTINGS: Mapping[str, object] = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "2GB",
}


@contextmanager
def server(dsn: str, settings: Mapping[str, object]) -> Iterator[str]:
    """Yield the DSN of a server where databases may be created: `dsn`, or for "" an embedded one of this run."""
    if dsn:
        yield dsn
        return
    with embedded.temporary(settings={**SETTINGS, **settings}) as servers:
        yield servers.dsn


@contextmanager
def database(server_dsn: str) -> Iterator[str]:
    """Yield the DSN of a fresh database with the schema and the benchmark's queue; drop it afterwards."""
    name = f"pgq_bench_{uuid.uuid4().hex[:12]}"
    dsn = make_conninfo(server_dsn, dbname=name)
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(f"create database {name}")
        try:
            with psycopg.connect(dsn, autocommit=True) as conn:
                migrate.migrate(conn)
                app.declare(conn)
            yield dsn
        finally:
            admin.execute(f"drop database {name} with (force)")
