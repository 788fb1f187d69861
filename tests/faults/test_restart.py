"""Postgres goes away and comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from time import monotonic_ns

import psycopg
import pytest
from fault_app import work
from fleet import Fleet, eventually
from ledger import Drained, Ledger
from producers import enqueue, producing
from tempo import back_after

from pgq import embedded

pytestmark = pytest.mark.fault

Say = Callable[[str], None]
Lasting = Callable[[float], float]


PEACE = 4  # seconds of work before each crash: its throughput is what must come back


def test_crashes_of_postgres_under_load_lose_nothing_and_throughput_is_back_within_ten_seconds(
    postgres: embedded.Postgres, fleet: Fleet, ledger: Ledger, drained: Drained, measured: Say, lasting: Lasting
) -> None:
    fleet.staff(2)
    crashes, accepted = [], []

    def back(number: int) -> float:
        return back_after(ledger, crashes[number], accepted[number])

    with producing(fleet.dsn, ledger, rate=100):
        eventually(lambda: ledger.keys("end"), 20, "work")
        for number in range(round(lasting(3))):
            time.sleep(PEACE)
            crashes.append(monotonic_ns())
            postgres.restart_immediately()
            accepted.append(monotonic_ns())
            eventually(lambda number=number: back(number) < 60, 60, "the throughput of before")
    account = drained()
    seconds = [back(number) for number in range(len(crashes))]
    measured(f"95 % of before again {', '.join(f'{one:.1f}' for one in seconds)} s after Postgres accepted connections")
    assert account.clean, account
    assert max(seconds) < 10
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
