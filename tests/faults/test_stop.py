"""Workers are told to stop in the middle of their work, and the database does not always answer."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from time import monotonic

import psycopg
import pytest
from fault_app import block, work
from fleet import Fleet, children_of, eventually
from ledger import Drained, Ledger
from producers import enqueue, producing

pytestmark = pytest.mark.fault

Say = Callable[[str], None]
Lasting = Callable[[float], float]


def test_workers_replaced_one_after_the_other_under_load_lose_and_double_nothing(
    fleet: Fleet, ledger: Ledger, drained: Drained, measured: Say, lasting: Lasting
) -> None:
    fleet.staff(2)
    took = []
    with producing(fleet.dsn, ledger, rate=100):
        ends = monotonic() + lasting(15)
        while monotonic() < ends:
            fleet.staff(1)
            eventually(ledger.further("end", 30), 20, "work")
            began = monotonic()
            assert fleet.stop(fleet.processes[0]) == 0
            took.append(monotonic() - began)
    account = drained()
    measured(f"{len(took)} workers stopped, each in {max(took):.1f} s at most")
    assert account.clean, account
    assert account.doubled == 0
    assert max(took) < float(str(fleet.settings["grace"])) + 3
    with psycopg.connect(fleet.dsn) as conn:
        assert conn.execute("select max(attempts) from pgq.tasks").fetchall() == [(1,)]


def test_a_worker_told_to_stop_while_postgres_does_not_answer_ends_in_time(
    fleet: Fleet, ledger: Ledger, drained: Drained, measured: Say
) -> None:
    fleet.staff(1)
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        for _ in range(8):
            enqueue(conn, ledger, work, ms=1_000)
        eventually(lambda: len(ledger.keys("start")) == 8, 20, "the start of all tasks")
        (postmaster,) = conn.execute("select pg_read_file('postmaster.pid')").fetchone()
        server = int(postmaster.splitlines()[0])
    frozen = [server, *children_of(server)]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        began = monotonic()
        code = fleet.stop(fleet.processes[0], 60)
        seconds = monotonic() - began
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    fleet.way = ""  # a pooler takes a while of its own to believe in that server again
    fleet.staff(1)
    account = drained()
    measured(f"it ended {seconds:.1f} s after SIGTERM with code {code}, with a grace of {fleet.settings['grace']} s")
    assert account.clean, account
    assert seconds < 30


def test_a_handler_that_blocks_the_event_loop_for_leases_on_end_runs_once(
    fleet: Fleet, ledger: Ledger, drained: Drained, lasting: Lasting
) -> None:
    lease = float(str(fleet.settings["lease"]))
    fleet.staff(2)
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        for _ in range(round(lasting(2))):
            enqueue(conn, ledger, block, ms=round(3 * lease * 1_000))
            for _ in range(20):
                enqueue(conn, ledger, work, ms=5)
            time.sleep(0.2)
        account = drained(lasting(60))
    assert account.clean, account
    assert account.doubled == 0
    assert "dead" not in fleet.log
