"""Fixtures for all tests: one server, one template database per run, a clone of it per test."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import fault_table
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from pooler import MIXED, PGBOUNCER, UNPREPARED, WANTED, Pooler, pooler
from psycopg.conninfo import make_conninfo

from benchmarks import checks
from pgq import acl, embedded, migrate
from pgq.config import Config
from pgq.connect import aconnect
from pgq.limiter import connect_redis

# Tests need no durability: the databases are thrown away. Fault tests start servers of their own.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": 300}


settings.register_profile("any machine", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Return the DSN of a server where databases may be created: PGQ_TEST_DSN, or an embedded one."""
    if given := os.environ.get("PGQ_TEST_DSN"):
        yield given
        return
    with embedded.temporary(settings=FAST) as servers:
        yield servers.dsn


@pytest.fixture(scope="session")
def redis_admin_url() -> Iterator[str]:
    """Return the URL of a Redis-compatible server: PGQ_TEST_REDIS_URL, or an embedded one."""
    if given := os.environ.get("PGQ_TEST_REDIS_URL"):
        yield given
        return
    with embedded.temporary(redis=True) as servers:
        yield servers.redis_url


@pytest.fixture(scope="session")
def redis_url(redis_admin_url: str) -> str:
    """Return the URL for the product: the same, or with PGQ_TEST_REDIS_ACL=1 that of a user of `pgq limits acl`."""
    if os.environ.get("PGQ_TEST_REDIS_ACL", "0") == "0":
        return redis_admin_url
    name, *rights = acl.line("pgq", "pgq-test").replace("PASSWORD", "secret").split()[1:]
    with closing(connect_redis(redis_admin_url)) as client:
        client.execute_command("ACL", "SETUSER", name, "reset", *rights, "~test-*")
    scheme, _, place = redis_admin_url.partition("://")
    return f"{scheme}://{name}:secret@{place.rpartition('@')[2]}"


@pytest.fixture
def forget(redis_admin_url: str) -> Callable[[str], None]:
    """Return what deletes every key below a prefix, as a server that lost its memory; the product's user may not."""

    def keys_below(prefix: str) -> None:
        with closing(connect_redis(redis_admin_url)) as client:
            if keys := client.keys(f"{prefix}:*"):
                client.delete(*keys)

    return keys_below


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


@pytest.fixture(scope="session")
def pooled(server: str) -> Iterator[Pooler | None]:
    """Return the pooler before the server, where PGQ_TEST_POOLER wants the product to work through one."""
    if not WANTED:
        yield None
        return
    assert PGBOUNCER, "PGQ_TEST_POOLER is set, and pgbouncer is not installed"
    with pooler(server, MIXED) as made:
        yield made


@pytest.fixture
def direct_dsn(server: str, template: str) -> Iterator[str]:
    """Return the DSN of a fresh database with the schema, past any pooler."""
    name = f"pgq_test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"create database {name} template {template}")
    yield make_conninfo(server, dbname=name)
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"drop database {name} with (force)")


@pytest.fixture
def dsn(direct_dsn: str, pooled: Pooler | None) -> str:
    """Return the DSN of the same database as the product is given it: through the pooler, where there is one."""
    return pooled.dsn(direct_dsn) if pooled else direct_dsn


@pytest.fixture
def empty_dsn(server: str, pooled: Pooler | None) -> Iterator[str]:
    """Return the DSN of a fresh database without the schema."""
    name = f"pgq_empty_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"create database {name}")
    direct = make_conninfo(server, dbname=name)
    yield pooled.dsn(direct) if pooled else direct
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"drop database {name} with (force)")


@pytest.fixture
def conn(dsn: str) -> Iterator[psycopg.Connection]:
    """Return a connection in autocommit mode."""
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=UNPREPARED) as conn:
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


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of tests of faults."""
    fault_table.options(parser)


def pytest_configure() -> None:
    """Let programs be interrupted that tests start: a shell has what it runs in the background ignore that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let tests of faults last as long as they are told to."""
    fault_table.allow_time(config, items)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table of all scenarios of faults that ran."""
    fault_table.show(terminalreporter, config)
