from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from fleet import Fleet, eventually
from ledger import Account, Drained, Ledger
from pooler import WANTED, Pooler, pooler
from servers import Limiter, durable_postgres, fresh_database, own_limiter

from pgq import embedded


@pytest.fixture(scope="session")
def postgres() -> Iterator[embedded.Postgres]:
    """Return a durable server of our own."""
    with durable_postgres() as server:
        yield server


@pytest.fixture
def dsn(postgres: embedded.Postgres) -> Iterator[str]:
    """Return the DSN of a fresh database with the schema, on the server that may be maltreated."""
    with fresh_database(postgres.dsn) as dsn:
        declare(dsn)
        yield dsn


def declare(dsn: str) -> None:
    from fault_app import app  # noqa: PLC0415 - it opens nothing, but belongs to the workers

    with psycopg.connect(dsn) as conn:
        app.declare(conn)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Return an empty ledger."""
    folder = tmp_path / "ledger"
    folder.mkdir()
    return Ledger(folder)


@pytest.fixture
def pooled(postgres: embedded.Postgres) -> Iterator[Pooler | None]:
    """Return the pooler that workers go through, where PGQ_TEST_POOLER wants one."""
    if not WANTED:
        yield None
        return
    with pooler(postgres.dsn) as made:
        yield made


@pytest.fixture
def fleet(dsn: str, ledger: Ledger, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Return worker processes with short leases, none started yet."""
    settings = {"lease": 2, "upkeep": 0.3, "poll": 0.5, "grace": 5, "overdue": 5, "concurrency": 8}
    fleet = Fleet(dsn, ledger, tmp_path, settings)
    if WANTED and "postgres" in request.fixturenames:  # else the servers are others
        way = request.getfixturevalue("pooled")
        fleet.way = way.dsn(dsn) if way else ""
    yield fleet
    fleet.close()


@pytest.fixture(scope="session")
def limiter_of_session() -> Iterator[Limiter]:
    """Return a limiter of our own."""
    with own_limiter() as limiter:
        yield limiter


@pytest.fixture
def limiter(limiter_of_session: Limiter) -> Limiter:
    """Return the limiter that may be maltreated: up, and empty."""
    limiter_of_session.start()
    limiter_of_session.flush()
    return limiter_of_session


@pytest.fixture
def crew(fleet: Fleet, limiter: Limiter) -> Fleet:
    """Return worker processes of the app that has limits, none started yet."""
    from limited_app import app  # noqa: PLC0415 - as above

    with psycopg.connect(fleet.dsn) as conn:
        app.declare(conn)
    fleet.app = "limited_app"
    fleet.settings = {**fleet.settings, "redis_url": limiter.url}
    return fleet


@pytest.fixture
def accounted(request: pytest.FixtureRequest) -> Callable[[Account], None]:
    """Show an account in the table at the end of the run; the last one of a test counts."""
    return lambda account: request.node.user_properties.append(("account", account.figures()))


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Show in the table at the end what else a scenario measured."""
    return lambda text: request.node.user_properties.append(("measured", text))


@pytest.fixture
def lasting(pytestconfig: pytest.Config) -> Callable[[float], float]:
    """Return how long something lasts, or how many there are of it, that `--long` makes more of."""
    return lambda seconds: seconds * pytestconfig.getoption("long")


@pytest.fixture
def drained(dsn: str, ledger: Ledger, accounted: Callable[[Account], None]) -> Drained:
    """Wait until every acknowledged task has ended, and return the account; the run's last table shows its figures."""

    def wait(seconds: float = 40, excused: frozenset[str] = frozenset()) -> Account:
        def all_ended() -> bool:
            with psycopg.connect(dsn) as conn:
                cursor = conn.execute("select count(*) from pgq.tasks where status in ('pending', 'processing')")
                return cursor.fetchall() == [(0,)]

        try:
            eventually(all_ended, seconds, "the end of all tasks")
        finally:
            account = ledger.account(dsn, excused)
            accounted(account)
        return account

    return wait


@pytest.fixture(autouse=True)
def _always_accounted(request: pytest.FixtureRequest, accounted: Callable[[Account], None]) -> Iterator[None]:
    """Show an account of tests too that do not drain: what waits in the table, or was ended on purpose, is not lost."""
    if not {"ledger", "dsn"} <= set(request.fixturenames):
        yield
        return
    ledger, dsn = request.getfixturevalue("ledger"), request.getfixturevalue("dsn")
    yield
    if "account" not in dict(request.node.user_properties):
        with contextlib.suppress(psycopg.OperationalError):  # the test failed, and left its server as it was
            accounted(ledger.account(dsn, ledger.kept(dsn)))
