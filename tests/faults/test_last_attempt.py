"""Workers are killed while they hold tasks on their last attempt: only those that had begun have spent it."""

from __future__ import annotations

import random

import psycopg
import pytest
from fault_app import die, work_in_process, work_once
from fleet import Fleet, children_of, eventually, kill_pid, registered
from ledger import Drained, Ledger
from producers import enqueue

pytestmark = pytest.mark.fault


def with_status(dsn: str, status: str) -> set[str]:
    """Return the keys of tasks of one status."""
    with psycopg.connect(dsn) as conn:
        rows = conn.execute("select payload ->> 'key' from pgq.tasks where status = %s::pgq.status", (status,))
        return {key for (key,) in rows.fetchall()}


def enqueue_wave(dsn: str, ledger: Ledger, everything: set[str]) -> set[str]:
    """Add quick tasks, which make a worker claim ahead, and slow ones behind them; returns the keys of these."""
    with psycopg.connect(dsn) as conn:
        quick = {enqueue(conn, ledger, work_once.options(priority=0), ms=0) for _ in range(600)}
        slow = {enqueue(conn, ledger, work_once, ms=2_000) for _ in range(12)}
    everything |= quick | slow
    return slow


@pytest.mark.parametrize("arguments", [("worker",), ("supervisor", "1")], ids=["alone", "supervised"])
def test_a_kill_spends_the_only_attempt_of_what_ran_and_of_nothing_else(
    arguments: tuple[str, ...], fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    fleet.settings = {**fleet.settings, "concurrency": 4}
    process = fleet.start(*arguments)
    eventually(lambda: registered(fleet.dsn) == 1, 20, "a worker")
    everything: set[str] = set()
    for _ in range(8):  # how far ahead it claims depends on how fast it is just now
        slow = enqueue_wave(fleet.dsn, ledger, everything)
        eventually(lambda slow=slow: len(ledger.keys("start") & slow) == 4, 30, "slots full of slow tasks")
        if len(with_status(fleet.dsn, "processing")) > 4:
            break
        eventually(lambda: ledger.keys("end") == everything, 30, "the end of this wave")
    victim = children_of(process.pid)[0] if arguments[0] == "supervisor" else process.pid
    claimed = with_status(fleet.dsn, "processing")
    kill_pid(victim, ledger)
    started = ledger.keys("start") - ledger.keys("end")
    assert len(claimed - ledger.keys("start")) > 0  # some were only buffered
    if arguments[0] == "worker":
        process.wait()
        fleet.processes.remove(process)
        fleet.start()
    account = drained(excused=frozenset(started))
    assert account.clean, account
    assert with_status(fleet.dsn, "dead") == started
    assert with_status(fleet.dsn, "completed") == everything - started
    assert sorted(run.key for run in ledger.runs()) == sorted(everything)


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_a_poison_task_gets_its_attempts_and_takes_only_those_along_that_had_begun(
    attempts: int, fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    with psycopg.connect(fleet.dsn) as conn:
        others = {enqueue(conn, ledger, work_once.options(priority=0), ms=10) for _ in range(100)}
        poison = enqueue(conn, ledger, die.options(max_attempts=attempts), how=random.choice(["exit", "segfault"]))
        others |= {enqueue(conn, ledger, work_once, ms=10) for _ in range(200)}
    fleet.start("supervisor", "1")
    drained(excused=frozenset({poison, *others}))
    runs = [run.key for run in ledger.runs()]
    assert runs.count(poison) == attempts
    assert all(runs.count(key) <= 1 for key in others)
    dead = with_status(fleet.dsn, "dead") - {poison}
    assert others - ledger.keys("end") <= dead
    assert len(dead) <= 16  # what was in the other slots of that worker, and what had just ended there
    assert with_status(fleet.dsn, "completed") == others - dead


def test_a_task_in_a_process_of_its_own_is_not_blamed_for_its_worker_until_that_was_killed_three_times(
    fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        key = enqueue(conn, ledger, work_in_process.options(max_attempts=1), ms=60_000)
    for kills in range(4):
        worker = fleet.start()
        eventually(lambda runs=kills + 1: len(ledger.read("start")) == runs, 20, "a run")
        assert with_status(fleet.dsn, "dead") == set()
        fleet.kill(worker)
    fleet.start()
    drained(excused=frozenset({key}))
    assert with_status(fleet.dsn, "dead") == {key}
    assert len(ledger.read("start")) == 4
