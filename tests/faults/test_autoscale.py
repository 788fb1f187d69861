"""A supervisor grows and shrinks by need, and scaling loses and doubles nothing, by the outside ledger."""

from __future__ import annotations

import os
import signal
import time
from time import monotonic

import psycopg
import pytest
from fault_app import die, work
from fleet import Fleet, children_of, eventually, registered
from ledger import Drained, Ledger
from producers import enqueue

from pgq import embedded
from pgq.scale import QUIET

pytestmark = pytest.mark.fault
FEW = 4_000  # tasks of a burst; 20,000 in the benchmark
BURST = int(os.environ.get("PGQ_BURST", FEW))


def burst(fleet: Fleet, ledger: Ledger, count: int, ms: int) -> None:
    """Enqueue so many tasks in one transaction, the way the ledger wants it."""
    keys = [f"burst-{number}" for number in range(count)]
    for key in keys:
        ledger.write("intent", key)
    with psycopg.connect(fleet.dsn) as conn:
        work.enqueue_many(conn, [{"key": key, "ms": ms} for key in keys])
    for key in keys:
        ledger.write("ack", key, 0)


@pytest.mark.slow
def test_a_burst_makes_it_grow_within_five_seconds_and_shrink_within_sixty_and_loses_nothing(
    fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    supervisor = fleet.start("supervisor", "1..4")
    eventually(lambda: registered(fleet.dsn) == 1, 15, "one worker")
    began = monotonic()
    burst(fleet, ledger, BURST, ms=20)
    eventually(lambda: registered(fleet.dsn) > 1, 5 - (monotonic() - began), "growth")
    eventually(lambda: registered(fleet.dsn) == 4, 10, "all four")
    account = drained(120)
    ended = monotonic()
    eventually(lambda: registered(fleet.dsn) == 1, 60, "the way back")
    assert monotonic() - ended > QUIET / 2
    assert account.clean, account
    assert (account.acked, account.runs, account.doubled) == (BURST, BURST, 0)
    eventually(lambda: len(children_of(supervisor.pid)) == 1, 5, "the end of the others")


@pytest.mark.slow
def test_without_the_database_it_keeps_what_it_has(
    postgres: embedded.Postgres, fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    supervisor = fleet.start("supervisor", "1..3")
    eventually(lambda: registered(fleet.dsn) == 1, 15, "one worker")
    burst(fleet, ledger, 200, ms=1_000)
    eventually(lambda: registered(fleet.dsn) == 3, 10, "growth")
    eventually(lambda: len(ledger.keys("end")) > 100, 20, "work")
    postgres.stop()
    ends = monotonic() + QUIET + 5
    counts = set()
    while monotonic() < ends:
        counts.add(len(children_of(supervisor.pid)))
        time.sleep(0.1)
    postgres.start()
    assert counts == {3}
    account = drained()
    assert account.clean, account


def test_a_process_that_is_dismissed_finishes_what_it_runs(fleet: Fleet, ledger: Ledger, drained: Drained) -> None:
    fleet.settings = {**fleet.settings, "grace": 60, "concurrency": 2}
    supervisor = fleet.start("supervisor", "1..2")
    eventually(lambda: registered(fleet.dsn) == 1, 15, "one worker")
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        for _ in range(4):
            enqueue(conn, ledger, work, ms=4_000)
        eventually(lambda: registered(fleet.dsn) == 2, 10, "a second worker")
        eventually(lambda: len(ledger.keys("end")) == 4, 15, "the end of all tasks")
        long = [enqueue(conn, ledger, work, ms=ms) for ms in (int(QUIET * 1_000) + 6_000,) * 3]  # three of four slots
        eventually(lambda: set(long) <= ledger.keys("start"), 5, "their start")
        parents = {run.pid for run in ledger.runs() if run.key in long}
    assert len(parents) == 2
    eventually(lambda: len(children_of(supervisor.pid)) == 1, QUIET + 20, "the way back")
    account = drained()
    assert account.clean, account
    assert account.doubled == 0


def test_processes_that_crash_at_once_get_no_company(fleet: Fleet, ledger: Ledger, drained: Drained) -> None:
    fleet.settings = {**fleet.settings, "concurrency": 1}
    supervisor = fleet.start("supervisor", "1..4")
    eventually(lambda: registered(fleet.dsn) == 1, 15, "one worker")
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        poison = [enqueue(conn, ledger, die, how="exit") for _ in range(3)]
    most = 0
    ends = monotonic() + 100
    while (open_tasks := pending(fleet.dsn)) and monotonic() < ends:
        most = max(most, len(children_of(supervisor.pid)))
        time.sleep(0.05)
    assert open_tasks == 0
    account = drained(excused=frozenset(poison))
    assert account.clean, account
    assert most == 1


def pending(dsn: str) -> int:
    with psycopg.connect(dsn) as conn:
        rows = conn.execute("select count(*) from pgq.tasks where status in ('pending', 'processing')").fetchall()
        return int(rows[0][0])


def test_two_supervisors_share_one_need(fleet: Fleet, ledger: Ledger, drained: Drained) -> None:
    fleet.settings = {**fleet.settings, "concurrency": 10}
    for _ in range(2):
        fleet.start("supervisor", "1..6")
    eventually(lambda: registered(fleet.dsn) == 2, 20, "one worker each")
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        for _ in range(40):
            enqueue(conn, ledger, work, ms=6_000)
    eventually(lambda: registered(fleet.dsn) >= 4, 10, "as many as are needed")
    with psycopg.connect(fleet.dsn) as conn:
        alone = conn.execute("select supervisor, scale, count(*) from pgq.workers group by 1, 2").fetchall()
    assert sorted((scale, count) for _, scale, count in alone) in ([("1..6", 2)] * 2, [("1..6", 2), ("1..6", 3)])
    account = drained()
    assert account.clean, account
    assert account.doubled == 0


def test_a_second_signal_still_means_at_once_and_a_first_one_reaches_those_that_leave(
    fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    fleet.settings = {**fleet.settings, "grace": 30}
    supervisor = fleet.start("supervisor", "1..2")
    eventually(lambda: registered(fleet.dsn) == 1, 15, "one worker")
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        keys = {enqueue(conn, ledger, work, ms=3_000) for _ in range(12)}
    eventually(lambda: registered(fleet.dsn) == 2, 10, "a second worker")
    os.kill(supervisor.pid, signal.SIGTERM)
    assert supervisor.wait(30) == 0
    fleet.processes.remove(supervisor)
    fleet.start("worker")
    account = drained()
    assert account.clean, account
    assert (ledger.keys("end"), account.doubled) == (keys, 0)
