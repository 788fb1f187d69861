"""A worker that was stopped longer than its lease wakes up with permits that others have by now.

A stopped process cannot be told from a dead one: what it ran counts as over when its lease is over, or a third of it
sooner where it was stopped on the point of renewing it.
"""

from __future__ import annotations

import random
import subprocess
import time
from time import monotonic, monotonic_ns
from typing import Any

import psycopg
import pytest
from fleet import Fleet, eventually, registered
from ledger import Drained, Ledger
from limited_app import CUSTOMER, TIGHT, for_customer, one_of_few, unlimited
from servers import Limiter
from storm import Feeder, stop, wake
from tempo import at_once, runs_of

pytestmark = pytest.mark.fault


def test_a_worker_that_wakes_after_its_lease_releases_nothing_of_those_who_took_over(
    crew: Fleet, limiter: Limiter, ledger: Ledger, drained: Drained
) -> None:
    zombie = crew.start()
    eventually(lambda: registered(crew.dsn) == 1, 15, "the first worker")
    samples = []
    with Feeder(crew.dsn, ledger, [(one_of_few, {"ms": 200})]) as feeder:
        for _ in range(2):
            before = len(ledger.keys("end"))
            eventually(lambda before=before: len(ledger.keys("end")) > before + 12, 20, "work")
            if len(crew.processes) < 2:
                crew.start()
                eventually(lambda: registered(crew.dsn) == 2, 15, "the second worker")
            over = stop(crew, zombie)
            time.sleep(float(str(crew.settings["lease"])) + 1)  # so that the other takes over
            wake(crew, zombie, over)
            samples += sampled(limiter, seconds=2)
    account = drained()
    runs = runs_of(ledger, feeder.keys[0])
    assert account.clean, account
    assert at_once(runs) == TIGHT
    for began, ended, believed, total in samples:
        assert believed == total >= sum(run.began < began and ended < (run.ended or 0) for run in runs)


@pytest.mark.parametrize(
    ("task", "slots"),
    [(one_of_few, TIGHT), (for_customer, CUSTOMER), (unlimited, None)],
    ids=["queue", "key", "no limit"],
)
def test_a_worker_that_wakes_after_its_lease_starts_nothing_that_it_had_claimed(
    task: Any, slots: int | None, crew: Fleet, ledger: Ledger, drained: Drained
) -> None:
    zombie = crew.start()
    eventually(lambda: registered(crew.dsn) == 1, 15, "the first worker")
    with Feeder(crew.dsn, ledger, [(task, {"ms": 100})]) as feeder:
        for _ in range(2):
            over, claimed = eventually_stopped(crew, zombie)
            other = crew.start()
            before = len(ledger.read("end"))
            eventually(lambda before=before: len(ledger.read("end")) > before + 8, 20, "the other's work")
            eventually(lambda claimed=claimed: not claimed & held(crew, zombie), 10, "the loss of what it had claimed")
            wake(crew, zombie, over)
            time.sleep(1)  # for what should not happen
            started = {(key, lease) for _, key, _, _, lease, *_ in ledger.read("start")}
            assert len(claimed & started) <= 1  # one may have been on the point of starting
            crew.stop(other)  # it has all slots, and would leave the first one none to claim for
    account = drained(60)
    assert account.clean, account
    assert slots is None or at_once(runs_of(ledger, feeder.keys[0])) == slots


def eventually_stopped(crew: Fleet, process: subprocess.Popen[bytes]) -> tuple[int, set[tuple[str, str]]]:
    """Stop a worker that has claimed several tasks and not started them.

    Returns when its lease will be over, and the key and the lease of each of those tasks.

    What it runs is over while it sleeps, so that it claims for all slots at once when it wakes: no rare sight then.
    """
    over = stop(crew, process)
    claimed: set[tuple[str, str]] = set()

    def caught() -> bool:
        nonlocal over, claimed
        time.sleep(0.1)  # as long as they run
        wake(crew, process, over)
        time.sleep(random.uniform(0, 0.02))
        over = stop(crew, process)
        begun = crew.ledger.keys("start")
        claimed = {(key, lease) for key, lease in held(crew, process) if key not in begun}
        return len(claimed) > 1

    eventually(caught, 40, "a stop between claim and start")
    return over, claimed


def held(crew: Fleet, process: subprocess.Popen[bytes]) -> set[tuple[str, str]]:
    """Return the key and the lease of each task that a worker holds."""
    with psycopg.connect(crew.dsn) as conn:
        cursor = conn.execute(
            "select payload ->> 'key', t.lease::text from pgq.tasks as t join pgq.workers as w on w.id = worker_id"
            " where status = 'processing' and w.pid = %s",
            (process.pid,),
        )
        return set(cursor.fetchall())


def sampled(limiter: Limiter, seconds: float) -> list[tuple[int, int, int, int]]:
    """Look again and again at how many tasks of queue `tight` the limiter believes to run: by permit, and in sum."""
    found, ends = [], monotonic() + seconds
    with limiter.client as client:
        while monotonic() < ends:
            began = monotonic_ns()
            book = client.hgetall("pgq:{queue:tight}:book")
            counts = [int(count) for name, count in book.items() if name.startswith("r:")]
            assert all(count > 0 for count in counts)
            found.append((began, monotonic_ns(), sum(counts), int(book.get("r", 0))))
            time.sleep(0.01)  # often enough
    return found
