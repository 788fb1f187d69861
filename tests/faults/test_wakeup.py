"""No wake-up is lost: an idle worker starts whatever is committed, long before it would have polled."""

from __future__ import annotations

import random
import threading
import time

import psycopg
import pytest
from fault_app import work
from fleet import Fleet, eventually, registered
from ledger import Drained, Ledger
from pooler import HEARD

pytestmark = [pytest.mark.fault, HEARD]

POLL = 30  # seconds; nothing may wait that long
LATE = 3.0  # seconds after the commit: far less than the poll, and the machine may be busy
LATE_HELD = 8.0  # the same where the commit came long after the enqueue: a busy worker finds it by its regular sweep


def produce(dsn: str, ledger: Ledger, count: int, number: int) -> None:
    """Enqueue in many small transactions; one in ten stays open for a while after the enqueue."""
    with psycopg.connect(dsn) as conn:
        for turn in range(count):
            key = f"{number}-{turn}"
            ledger.write("intent", key)
            work.options(priority=random.choice((0, 5, 9))).enqueue(conn, key=key, ms=0)
            if random.random() < 0.1:
                time.sleep(random.uniform(0, 0.3))  # the hazard: a commit much later than the enqueue
            conn.commit()
            ledger.write("ack", key)
            time.sleep(random.uniform(0, 0.005))


def lateness(ledger: Ledger) -> dict[str, float]:
    """Return for each task the seconds between its commit, or soon after, and its first start."""
    committed = {words[1]: int(words[0]) for words in ledger.read("ack")}
    started: dict[str, int] = {}
    for words in ledger.read("start"):
        started.setdefault(words[1], int(words[0]))
    return {key: (started[key] - when) / 1e9 for key, when in committed.items()}


def run(fleet: Fleet, ledger: Ledger, workers: int, producers: int, count: int) -> dict[str, float]:
    fleet.settings = {**fleet.settings, "poll": POLL, "lease": 30}
    for _ in range(workers):
        fleet.start()
    eventually(lambda: registered(fleet.dsn) == workers, 15, "all workers")
    eventually(lambda: listening(fleet.dsn) == workers, 15, "all listeners")
    threads = [
        threading.Thread(target=produce, args=(fleet.dsn, ledger, count // producers, number))
        for number in range(producers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: ledger.keys("ack") <= ledger.keys("start"), POLL + 10, "the start of all tasks")
    return lateness(ledger)


def listening(dsn: str) -> int:
    """Return how many workers have a listening connection that waits."""
    with psycopg.connect(dsn) as conn:
        cursor = conn.execute(
            "select count(*) from pg_stat_activity where datname = current_database()"
            " and application_name = 'pgq listen' and state = 'idle' and query not like '%pg_backend_pid%'"
        )
        return int(cursor.fetchall()[0][0])


def too_late(ledger: Ledger) -> dict[str, float]:
    """Return the tasks that started too late after their commit."""
    meant = {words[1]: int(words[0]) for words in ledger.read("intent")}
    committed = {words[1]: int(words[0]) for words in ledger.read("ack")}
    held = {key for key, when in committed.items() if when - meant[key] > 0.05e9}
    return {key: late for key, late in lateness(ledger).items() if late > (LATE_HELD if key in held else LATE)}


@pytest.mark.parametrize(("workers", "producers"), [(1, 3), (3, 4)])
@pytest.mark.parametrize("count", [1_500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_every_task_starts_soon_after_its_commit(
    workers: int, producers: int, count: int, fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    late = run(fleet, ledger, workers, producers, count)
    account = drained()
    assert account.clean, account
    assert too_late(ledger) == {}
    assert sorted(late.values())[len(late) // 2] < 0.5


def test_single_tasks_for_a_sleeping_worker_start_at_once(fleet: Fleet, ledger: Ledger, drained: Drained) -> None:
    """Far apart: the worker is asleep each time, and some transactions stay open while it falls asleep."""
    fleet.settings = {**fleet.settings, "poll": POLL, "lease": 30}
    fleet.start()
    eventually(lambda: registered(fleet.dsn) == 1 and listening(fleet.dsn) == 1, 15, "the worker")
    with psycopg.connect(fleet.dsn) as slow, psycopg.connect(fleet.dsn) as quick:
        for turn in range(40):
            for conn, name in ((slow, "slow"), (quick, "quick")):
                ledger.write("intent", f"{name}-{turn}")
                work.enqueue(conn, key=f"{name}-{turn}", ms=0)
            quick.commit()
            ledger.write("ack", f"quick-{turn}")
            time.sleep(random.uniform(0.1, 0.4))
            slow.commit()
            ledger.write("ack", f"slow-{turn}")
            time.sleep(random.uniform(0, 0.05))
    eventually(lambda: ledger.keys("ack") <= ledger.keys("start"), POLL + 10, "the start of all tasks")
    account = drained()
    assert account.clean, account
    assert too_late(ledger) == {}
