"""Workers are killed without warning."""

from __future__ import annotations

import random
import signal
import time
from time import monotonic

import psycopg
import pytest
from fault_app import app, die, work, work_in_process
from fleet import Fleet, alive, children_of, eventually, kill_pid, registered
from ledger import Drained, Ledger
from producers import enqueue, producing

pytestmark = pytest.mark.fault


def test_a_storm_of_kills_loses_nothing(fleet: Fleet, ledger: Ledger, drained: Drained) -> None:
    for _ in range(3):
        fleet.start()
    with producing(fleet.dsn, ledger, rate=120):
        ends = monotonic() + 12
        while monotonic() < ends:
            time.sleep(1)  # the beat of the storm
            fleet.kill(random.choice(fleet.processes))
            fleet.start()
    account = drained()
    assert account.clean, account
    assert account.acked > 300
    assert account.doubled > 0  # the kills hit tasks that ran


@pytest.mark.parametrize("how", ["exit", "segfault", "memory"])
def test_a_poison_task_is_buried_after_its_attempts_and_hurts_nobody(
    how: str, fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        others = [enqueue(conn, ledger, work, ms=20) for _ in range(100)]
        poison = enqueue(conn, ledger, die.options(priority=0), how=how)
        others += [enqueue(conn, ledger, work, ms=20) for _ in range(100)]
    fleet.start("supervisor", "2")
    account = drained(excused=frozenset({poison}))
    assert account.clean, account
    runs = [run.key for run in ledger.runs()]
    assert runs.count(poison) == 3
    assert all(1 <= runs.count(key) <= 2 for key in others)
    with psycopg.connect(fleet.dsn) as conn:
        row = conn.execute("select status::text, attempts from pgq.tasks where task = 'die'").fetchone()
    assert row == ("dead", 3)


def test_a_supervisor_replaces_a_killed_worker_and_gives_its_tasks_back_at_once(
    fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    fleet.settings = {**fleet.settings, "lease": 300}
    supervisor = fleet.start("supervisor", "2")
    eventually(lambda: registered(fleet.dsn) == 2, 15, "two workers")
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        keys = {enqueue(conn, ledger, work, ms=4_000) for _ in range(12)}
    eventually(lambda: len(ledger.keys("start")) == 12, 10, "the start of all tasks")
    victim = random.choice(children_of(supervisor.pid))
    kill_pid(victim, ledger)
    account = drained(30)  # far less than the lease
    assert account.clean, account
    assert account.doubled > 0
    assert ledger.keys("end") == keys
    eventually(lambda: registered(fleet.dsn) == 2, 10, "a replacement")
    assert victim not in children_of(supervisor.pid)


def test_a_supervisor_told_to_stop_under_load_ends_in_time_and_loses_nothing(
    fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    supervisor = fleet.start("supervisor", "2")
    eventually(lambda: registered(fleet.dsn) == 2, 15, "two workers")
    with producing(fleet.dsn, ledger, rate=200):
        eventually(lambda: len(ledger.keys("end")) > 200, 15, "work")
        workers = children_of(supervisor.pid)
        began = monotonic()
        assert fleet.stop(supervisor) == 0
        assert monotonic() - began < float(str(fleet.settings["grace"])) + 3
    assert not any(alive(pid) for pid in workers)
    with psycopg.connect(fleet.dsn) as conn:
        left = conn.execute(
            "select count(*) filter (where status = 'processing'), count(*) filter (where attempts > 0)"
            " from pgq.tasks where status <> 'completed'"
        ).fetchone()
    assert left == (0, 0)  # all of it handed back, each with its attempt
    assert registered(fleet.dsn) == 0
    fleet.start()
    account = drained()
    assert account.clean, account
    assert account.doubled == 0


def test_a_second_signal_to_a_supervisor_ends_everything_at_once(fleet: Fleet, ledger: Ledger) -> None:
    supervisor = fleet.start("supervisor", "2")
    eventually(lambda: registered(fleet.dsn) == 2, 15, "two workers")
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        enqueue(conn, ledger, work, ms=60_000)
    eventually(lambda: ledger.keys("start"), 10, "the start")
    workers = children_of(supervisor.pid)
    supervisor.send_signal(signal.SIGTERM)
    eventually(lambda: stopping(fleet.dsn), 5, "the first signal's effect")
    began = monotonic()
    fleet.stop(supervisor)
    assert monotonic() - began < 2
    assert supervisor.returncode == 128 + signal.SIGTERM
    assert not any(alive(pid) for pid in workers)


def test_a_worker_that_was_asleep_for_two_leases_records_nothing_of_what_it_lost(
    fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    first = fleet.start()
    eventually(lambda: registered(fleet.dsn) == 1, 15, "the first worker")
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        keys = [enqueue(conn, ledger, work, ms=1_000) for _ in range(8)]
    eventually(lambda: len(ledger.keys("start")) == 8, 10, "the start of all tasks")
    first.send_signal(signal.SIGSTOP)
    fleet.start()
    eventually(lambda: len(ledger.keys("end")) == 8, 20, "the second worker's runs")
    eventually(lambda: statuses(fleet.dsn) == {"completed": 8}, 10, "their completions")
    before = outcomes(fleet.dsn)
    first.send_signal(signal.SIGCONT)
    eventually(lambda: len(ledger.read("end") + ledger.read("stop")) == 16, 15, "the end of the zombie's runs")
    eventually(lambda: registered(fleet.dsn) == 2, 15, "the zombie to register anew")
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        later = [enqueue(conn, ledger, work, ms=300) for _ in range(48)]
    account = drained()
    assert outcomes(fleet.dsn, "attempts = 2") == before
    assert not account.lost
    assert not account.unexpected
    assert account.overlap == set(keys)  # a stopped process runs on when it wakes; only its outcome is refused
    assert {run.pid for run in ledger.runs() if run.key in later} == {p.pid for p in fleet.processes}
    assert "declared dead" in fleet.log


def test_children_die_with_the_worker_that_is_killed(fleet: Fleet, ledger: Ledger, drained: Drained) -> None:
    worker = fleet.start()
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        for _ in range(4):
            enqueue(conn, ledger, work_in_process, ms=4_000)
    eventually(lambda: len(ledger.keys("start")) == 4, 15, "the start of all tasks")
    children = children_of(worker.pid)
    assert len(children) >= 4
    fleet.kill(worker)
    eventually(lambda: not any(alive(pid) for pid in children), 0.5, "the end of the children")
    fleet.start()
    account = drained()
    assert account.clean, account
    assert account.doubled == 4


def stopping(dsn: str) -> bool:
    """Return whether some worker said that it stops."""
    with psycopg.connect(dsn) as conn:
        return bool(conn.execute("select bool_or(stopping) from pgq.workers").fetchall()[0][0])


def statuses(dsn: str) -> dict[str, int]:
    """Return how many tasks have each status."""
    with psycopg.connect(dsn) as conn:
        return dict(conn.execute("select status::text, count(*)::int from pgq.tasks group by 1").fetchall())


def outcomes(dsn: str, where: str = "true") -> list[tuple[object, ...]]:
    """Return what the rows say of their ends."""
    with psycopg.connect(dsn) as conn:
        return conn.execute(
            f"select id, status, attempts, worker_id, completed_at from pgq.tasks where {where} order by id"
        ).fetchall()


assert app.queues  # imported before the workers are: a mistake in it shows here
