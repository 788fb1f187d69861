"""The wall clock of a worker's host may be wrong: only the database's clock says what is due."""

from __future__ import annotations

import time
from pathlib import Path

import psycopg
import pytest
from fault_app import work
from fleet import Fleet, eventually, registered
from ledger import Drained, Ledger
from producers import enqueue, producing
from test_wakeup import lateness

LIBRARIES = [path for path in Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1") if path.exists()]
pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(not LIBRARIES, reason="libfaketime is not installed"),
]


@pytest.mark.parametrize("offset", ["+1h", "-1h"])
def test_a_worker_whose_clock_is_an_hour_off_works_like_any_other(
    offset: str, fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    wrong = {"LD_PRELOAD": str(LIBRARIES[0]), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
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
