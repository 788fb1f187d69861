"""The server that answers takes no writes for a while, as a standby or a primary that was demoted does."""

from __future__ import annotations

import time

import psycopg
import pytest
from fault_app import work
from fleet import Fleet, eventually, registered
from ledger import Drained, Ledger
from producers import enqueue, producing

pytestmark = pytest.mark.fault


def refuse_writes(conn: psycopg.Connection, refused: bool) -> None:
    """Let the database take no writes, or take them again; sessions are ended either way."""
    setting = "set default_transaction_read_only = on" if refused else "reset default_transaction_read_only"
    ((name,),) = conn.execute("select current_database()").fetchall()
    conn.execute(f"alter database {name} {setting}")
    conn.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )


def test_workers_wait_for_a_server_that_takes_writes_without_storming_it(
    fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    for _ in range(2):
        fleet.start()
    eventually(lambda: registered(fleet.dsn) == 2, 20, "two workers")
    with psycopg.connect(fleet.dsn, autocommit=True) as conn, producing(fleet.dsn, ledger, rate=50, kinds=(work,)):
        eventually(lambda: len(ledger.read("end")) > 50, 20, "throughput")
        refuse_writes(conn, refused=True)
        eventually(lambda: "takes no writes" in fleet.log, 15, "a refusal")
        before = fleet.log.count("takes no writes")
        time.sleep(4)
        assert fleet.log.count("takes no writes") - before < 4 * 5 * 2  # seconds, parts, workers
        conn.execute("set default_transaction_read_only = off")
        refuse_writes(conn, refused=False)
        enqueue(conn, ledger, work)
        before = len(ledger.read("end"))
        eventually(lambda: len(ledger.read("end")) > before + 50, 20, "throughput again")
    account = drained()
    assert account.clean, account
    assert account.doubled == 0
    assert all(process.poll() is None for process in fleet.processes)
