"""A database that is unkind: timeouts of an instant, nothing may be written, no connection is left."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from time import monotonic

import psycopg
import pytest
from fault_app import LONG, work
from fleet import Fleet, eventually
from ledger import Drained, Ledger
from pooler import OWN_SESSION
from producers import enqueue, producing

from pgq import embedded

pytestmark = pytest.mark.fault

Say = Callable[[str], None]
Lasting = Callable[[float], float]
INSTANT = {
    "statement_timeout": "5ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "5ms",
    "idle_session_timeout": "300ms",
}


def this(conn: psycopg.Connection) -> str:
    return str(conn.info.dbname)


@contextmanager
def setting(conn: psycopg.Connection, **settings: str) -> Iterator[None]:
    """Change settings of the database, for sessions that begin while the block runs; those that are there end."""
    for name, value in settings.items():
        conn.execute(f"alter database {this(conn)} set {name} = '{value}'")
    end_sessions(conn)
    try:
        yield
    finally:
        conn.execute("set default_transaction_read_only = off")
        conn.execute(f"alter database {this(conn)} reset all")


def end_sessions(conn: psycopg.Connection) -> None:
    conn.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and application_name like 'pgq %'"
    )


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=OWN_SESSION) if name == "statement_timeout" else name for name in INSTANT]
)
def test_a_timeout_of_an_instant_set_for_the_database_keeps_no_worker_from_its_work(
    name: str, fleet: Fleet, ledger: Ledger, drained: Drained, measured: Say, lasting: Lasting
) -> None:
    fleet.staff(2)
    patient = f"{fleet.dsn} options='-c {name}=0'"
    with psycopg.connect(fleet.dsn, autocommit=True) as conn, setting(conn, **{name: INSTANT[name]}):
        with producing(patient, ledger, rate=60):
            eventually(ledger.further("end", round(lasting(150))), lasting(60), "work")
            fleet.kill(fleet.processes[0])
            eventually(ledger.further("end", round(lasting(150))), lasting(60), "work of the other one")
        eventually(lambda: ledger.keys("ack") <= ledger.keys("end"), 40, "the end of all tasks")
    account = drained()
    lost = fleet.log.count("canceling statement") + fleet.log.count("terminating connection")
    measured(f"{lost} statements or sessions of workers ended by it")
    assert account.clean, account
    assert lost <= 10


def test_a_database_that_may_not_be_written_stops_everything_and_nothing_is_lost(
    postgres: embedded.Postgres, fleet: Fleet, ledger: Ledger, drained: Drained, lasting: Lasting
) -> None:
    fleet.staff(2)
    with psycopg.connect(postgres.dsn, autocommit=True) as server, producing(fleet.dsn, ledger, rate=60):
        eventually(ledger.further("end", 50), 30, "work")
        server.execute("alter system set default_transaction_read_only = on")
        server.execute("select pg_reload_conf()")
        try:
            with psycopg.connect(fleet.dsn, autocommit=True) as conn:
                eventually(lambda: conn.execute("show transaction_read_only").fetchone() == ("on",), 10, "the change")
                with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                    work.enqueue(conn, key="refused")
            time.sleep(lasting(6))  # three leases
        finally:
            server.execute("alter system reset default_transaction_read_only")
            server.execute("select pg_reload_conf()")
        eventually(ledger.further("end", 50), 30, "work afterwards")
    account = drained()
    assert account.clean, account
    assert all(process.poll() is None for process in fleet.processes)


@OWN_SESSION
def test_sessions_begun_while_nothing_may_be_written_do_not_stay_that_way(
    fleet: Fleet, ledger: Ledger, drained: Drained, lasting: Lasting
) -> None:
    """What a session takes over at its beginning it keeps: each must be replaced by one that may write."""
    fleet.staff(2)
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        with setting(conn, default_transaction_read_only="on"):
            time.sleep(lasting(5))  # every part of a worker has connected anew
        long = [enqueue(conn, ledger, work, ms=LONG) for _ in range(16)]
        eventually(lambda: set(long) <= ledger.keys("start"), 30, "the start of all tasks")
        fleet.kill(fleet.processes[0])  # upkeep of the other one must write too
        account = drained()
        assert conn.execute("select count(*) from pgq.workers").fetchall() == [(1,)]
    assert account.clean, account
    assert account.doubled == 8
    assert fleet.log.count("read-only") < 200  # it does not try without a pause


def test_without_a_free_connection_workers_keep_what_they_have_and_come_back(
    postgres: embedded.Postgres, fleet: Fleet, ledger: Ledger, drained: Drained, measured: Say, lasting: Lasting
) -> None:
    """First all other connections are taken; then, one after the other, those of the workers as well."""
    fleet.staff(2)
    with ExitStack() as taken, psycopg.connect(fleet.dsn, autocommit=True) as conn:
        for _ in range(60):
            enqueue(conn, ledger, work, ms=20)
        assert fill(postgres.dsn, taken) > 100
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(fleet.dsn).close()
            pytest.fail("there is a connection left")
        for _ in range(100):
            enqueue(conn, ledger, work, ms=20)
        eventually(lambda: ledger.keys("end") == ledger.keys("ack"), 20, "work without a free connection")
        seized, ends = 0, monotonic() + lasting(8)
        while monotonic() < ends:
            pids = conn.execute(
                "select pid from pg_stat_activity where datname = current_database() and application_name like 'pgq %'"
            ).fetchall()
            if pids:
                conn.execute("select pg_terminate_backend(%s)", random.choice(pids))
                seized += fill(postgres.dsn, taken)
            enqueue(conn, ledger, work, ms=20)
            time.sleep(0.2)
        assert seized > 3
        taken.close()
        eventually(lambda: ledger.keys("end") == ledger.keys("ack"), 30, "work with connections again")
    account = drained()
    measured(f"{seized} connections of workers taken by others")
    assert account.clean, account
    assert all(process.poll() is None for process in fleet.processes)


def fill(dsn: str, taken: ExitStack) -> int:
    """Take every connection that the server has left; returns how many those were."""
    count = 0
    with contextlib.suppress(psycopg.OperationalError):
        while True:
            taken.enter_context(contextlib.closing(psycopg.connect(dsn)))
            count += 1
    return count
