"""Postgres goes away and comes back."""

from __future__ import annotations

import time

import psycopg
import pytest
from fault_app import work
from fleet import Fleet, eventually, registered
from ledger import Drained, Ledger
from producers import enqueue, producing

from pgq import embedded

pytestmark = pytest.mark.fault


def test_three_crashes_of_postgres_under_load_lose_nothing(
    postgres: embedded.Postgres, fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    for _ in range(2):
        fleet.start()
    eventually(lambda: registered(fleet.dsn) == 2, 15, "two workers")
    with producing(fleet.dsn, ledger, rate=100):
        for _ in range(3):
            before = len(ledger.read("end"))
            eventually(lambda before=before: len(ledger.read("end")) > before + 50, 20, "throughput")
            postgres.restart_immediately()
        before = len(ledger.read("end"))
        eventually(lambda: len(ledger.read("end")) > before + 50, 15, "throughput after the last restart")
    account = drained()
    assert account.clean, account
    assert all(process.poll() is None for process in fleet.processes)


@pytest.mark.parametrize("newcomer", [False, True], ids=["alone", "with a new worker at once"])
def test_nobody_is_buried_for_an_outage_longer_than_the_lease(
    newcomer: bool, postgres: embedded.Postgres, fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    for _ in range(2):
        fleet.start()
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        for _ in range(12):
            enqueue(conn, ledger, work, ms=9_000)
    eventually(lambda: len(ledger.keys("start")) == 12, 15, "the start of all tasks")
    postgres.stop()
    if newcomer:
        fleet.start("impatient")
    time.sleep(2.5 * float(str(fleet.settings["lease"])))
    postgres.start()
    account = drained()
    assert account.clean, account
    assert account.doubled == 0
    assert "dead" not in fleet.log
