"""Clocks that are wrong, or set: a worker's does not matter, the database's says what is due, and may step."""

from __future__ import annotations

import time
from pathlib import Path

import clocks
import psycopg
import pytest
from clocks import Clock
from fault_app import work
from fleet import Fleet, eventually, registered
from ledger import Drained, Ledger
from producers import enqueue, producing
from test_wakeup import lateness

pytestmark = [pytest.mark.fault, clocks.NEEDED]
HOUR = 3_600


@pytest.mark.parametrize("offset", ["+1h", "-1h"])
def test_a_worker_whose_clock_is_an_hour_off_works_like_any_other(
    offset: str, fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    wrong = {"LD_PRELOAD": str(clocks.LIBRARIES[0]), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    fleet.start(env=wrong)
    fleet.start()
    eventually(lambda: registered(fleet.dsn) == 2, 20, "both workers")
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        delayed = enqueue(conn, ledger, work.options(delay=3))
        began = time.monotonic_ns()
    # Coroutines only: the library that fakes the clock breaks time.sleep of threads.
    with producing(fleet.dsn, ledger, rate=100, kinds=(work,)):
        eventually(lambda: len(ledger.keys("end")) > 300, 30, "work")
    account = drained()
    assert account.clean, account
    assert account.doubled == 0
    late = lateness(ledger)
    assert 2.9 < late.pop(delayed) < 8
    assert max(late.values()) < 5
    assert "dead" not in fleet.log
    started = {run.key: run.began for run in ledger.runs()}
    assert started[delayed] - began > 2.9e9
    assert {run.pid for run in ledger.runs()} == {process.pid for process in fleet.processes}


def test_a_worker_whose_clock_jumps_back_and_forth_works_like_any_other(
    fleet: Fleet, ledger: Ledger, drained: Drained, tmp_path: Path
) -> None:
    clock = Clock(tmp_path / "clock")
    fleet.start(env=clock.env)
    fleet.start()
    eventually(lambda: registered(fleet.dsn) == 2, 20, "both workers")
    with producing(fleet.dsn, ledger, rate=100, kinds=(work,)):
        for offset in (HOUR, -HOUR, 2 * HOUR, 0, -HOUR):
            clock.set(offset)
            before = len(ledger.read("end"))
            eventually(lambda before=before: len(ledger.read("end")) > before + 100, 20, "work")
    account = drained()
    assert account.clean, account
    assert account.doubled == 0
    assert max(lateness(ledger).values()) < 5
    assert "dead" not in fleet.log
