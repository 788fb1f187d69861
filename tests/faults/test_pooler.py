"""PgBouncer in transaction mode stands between: no session is ours, and nothing relies on one."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from fault_app import work
from fleet import Fleet, eventually
from ledger import Drained, Ledger
from pooler import PGBOUNCER, pooler, session_locks
from producers import enqueue, producing

pytestmark = [pytest.mark.fault, pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")]
# Four sessions for everybody, each cleared of what the last transaction left.
FEW = {"default_pool_size": 4, "min_pool_size": 0, "server_reset_query": "discard all", "server_reset_query_always": 1}


@pytest.fixture
def pooled_dsn(dsn: str) -> Iterator[str]:
    """Return the DSN of the database by way of a PgBouncer that gives each transaction any of four sessions."""
    with pooler(dsn, FEW) as made:
        yield made.dsn(dsn)


def test_behind_a_transaction_pooler_workers_poll_and_lose_nothing(
    pooled_dsn: str, fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    for _ in range(2):
        fleet.start(dsn=pooled_dsn)
    with producing(pooled_dsn, ledger, rate=100):
        eventually(lambda: len(ledger.keys("end")) > 300, 30, "work")
    account = drained()
    assert account.clean, account
    assert account.doubled == 0
    assert "polling instead" in fleet.log
    assert "prepared statement" not in fleet.log
    with psycopg.connect(fleet.dsn) as conn:
        assert session_locks(conn) == 0
    for process in list(fleet.processes):
        assert fleet.stop(process) == 0


def test_behind_a_transaction_pooler_a_killed_worker_s_tasks_come_back(
    pooled_dsn: str, fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    victim = fleet.start(dsn=pooled_dsn)
    with psycopg.connect(pooled_dsn, autocommit=True) as conn:
        conn.prepare_threshold = None
        for _ in range(8):
            enqueue(conn, ledger, work, ms=1_000)
    eventually(lambda: len(ledger.keys("start")) == 8, 15, "the start of all tasks")
    fleet.kill(victim)
    fleet.start(dsn=pooled_dsn)
    account = drained()
    assert account.clean, account
    assert account.doubled == 8
