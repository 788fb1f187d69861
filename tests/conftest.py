"""Fixtures for all tests: one server, one template database per run, a clone of it per test."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from benchmarks import checks
from pgq import embedded, migrate
from pgq.config import Config
from pgq.connect import aconnect

# Tests need no durability: the databases are thrown away. Fault tests start servers of their own.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": 300}


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Return the DSN of a server where databases may be created: PGQ_TEST_DSN, or an embedded one."""
    if given := os.environ.get("PGQ_TEST_DSN"):
        yield given
        return
    with embedded.temporary(settings=FAST) as servers:
        yield servers.dsn


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Return the URL of a Redis-compatible server: PGQ_TEST_REDIS_URL, or an embedded one."""
    if given := os.environ.get("PGQ_TEST_REDIS_URL"):
        yield given
        return
    with embedded.temporary(redis=True) as servers:
        yield servers.redis_url


@pytest.fixture(scope="session")
def template(server: str) -> Iterator[str]:
    """Return the name of a database that has the schema; tests clone it."""
    name = f"pgq_template_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"create database {name}")
    with psycopg.connect(make_conninfo(server, dbname=name), autocommit=True) as conn:
        migrate.migrate(conn)
    yield name
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"drop database {name} with (force)")


@pytest.fixture
def dsn(server: str, template: str) -> Iterator[str]:
    """Return the DSN of a fresh database with the schema."""
    name = f"pgq_test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"create database {name} template {template}")
    yield make_conninfo(server, dbname=name)
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"drop database {name} with (force)")


@pytest.fixture
def empty_dsn(server: str) -> Iterator[str]:
    """Return the DSN of a fresh database without the schema."""
    name = f"pgq_empty_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"create database {name}")
    yield make_conninfo(server, dbname=name)
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"drop database {name} with (force)")


@pytest.fixture
def conn(dsn: str) -> Iterator[psycopg.Connection]:
    """Return a connection in autocommit mode."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        yield conn


@pytest.fixture
async def aconn(dsn: str) -> AsyncIterator[psycopg.AsyncConnection]:
    """Return a connection as the worker opens them."""
    async with await aconnect(dsn, "test") as conn:
        yield conn


@pytest.fixture
def config(dsn: str, redis_url: str) -> Config:
    """Return settings for a worker in a test: quick polls, short leases, names of its own in Redis."""
    return Config(
        dsn=dsn, redis_url=redis_url, limit_prefix=f"pgq:test:{uuid.uuid4().hex[:12]}",
        concurrency=10, lease=3.0, upkeep=0.3, poll=0.5, grace=2.0, overdue=1.0,
    )  # fmt: skip


@pytest.fixture
def keep(request: pytest.FixtureRequest) -> Callable[[str, Mapping[str, float]], None]:
    """Keep the figures of a check beside a benchmark's result, where PGQ_KEEP names its directory."""

    def keep(check: str, figures: Mapping[str, float]) -> None:
        if kept := os.environ.get("PGQ_KEEP"):
            sizes = [f"{name}={os.environ[name]}" for name in ("PGQ_TRACES", "FAULTS") if name in os.environ]
            checks.keep(Path(kept), check, " ".join([*sizes, "pytest", request.node.nodeid]), figures)

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures of every fault scenario, and what it remarked."""
    reports = [one for kind in ("passed", "failed") for one in terminalreporter.getreports(kind)]
    said = [(one.nodeid.rpartition("::")[2], *pair) for one in reports for pair in one.user_properties]
    figures = [(name, account) for name, kind, account in said if kind == "account"]
    if not figures:
        return
    width = max(len(name) for name, _ in figures)
    terminalreporter.section("faults")
    terminalreporter.write_line(" ".join([f"{'scenario':{width}}", *(f"{column:>10}" for column in figures[0][1])]))
    for name, account in figures:
        terminalreporter.write_line(" ".join([f"{name:{width}}", *(f"{number:>10}" for number in account.values())]))
    for text in (text for _, kind, text in said if kind == "remark"):
        terminalreporter.write_line(text)
