"""Limits hold whatever happens to workers, to the limiter, and to the way between them.

A stopped process cannot be told from a dead one: what it ran counts as over when its lease is over, or a third of it
sooner where it was stopped on the point of renewing it. What a killed one ran was over when it was killed.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, monotonic_ns
from typing import Any, Self

import psycopg
import pytest
from fleet import Fleet, cpu_seconds, eventually
from ledger import Drained, Ledger
from limited_app import BRAVE, CUSTOMER, PACE, TIGHT, come_what_may, for_customer, in_step, one_of_few, unlimited
from proxy import LossyProxy
from servers import Limiter
from storm import Feeder, Storm, enqueue_many, stop, wake
from tempo import SECOND, at_once, between, overfull, refilled, runs_of
from test_kill import registered
from test_wakeup import lateness

pytestmark = pytest.mark.fault

FAULTS = int(os.environ.get("FAULTS", "20"))
MIXED = [
    (one_of_few, {"ms": 80}),
    (in_step, {}),
    (for_customer, {"ms": 50, "customer": "a"}),
    (for_customer, {"ms": 50, "customer": "b"}),
]
LATE = 1.5  # seconds more than the lease that a slot may take to be used again: the machine is busy, and a worker that
# finds the limiter back tells it of the tasks of a dead one too, up to a second after both died
SLOW_WAYS = ["hangs", pytest.param("crashes", marks=pytest.mark.slow), pytest.param("empty", marks=pytest.mark.slow)]


def staffed(crew: Fleet, count: int) -> None:
    """Start workers and wait until all are there."""
    for _ in range(count):
        crew.start()
    eventually(lambda: registered(crew.dsn) == count, 20, "all workers")


@pytest.mark.timeout(100 + 8 * FAULTS)
def test_limits_hold_in_a_storm_of_faults(
    crew: Fleet, limiter: Limiter, ledger: Ledger, drained: Drained, remark: Callable[[str], None]
) -> None:
    """Every slot is in use again within the lease after a kill; each loss of memory costs one window's worth."""
    staffed(crew, 3)
    storm = Storm(crew, limiter)
    with Feeder(crew.dsn, ledger, MIXED) as feeder:
        eventually(lambda: len(ledger.keys("end")) > 50, 20, "work")
        happened = storm.blow(FAULTS)
    account = drained(60)
    few, paced, *customers = (runs_of(ledger, keys) for keys in feeder.keys.values())
    refills = [refilled(few, kill, TIGHT) for kill in storm.kills]
    remark(f"{dict(happened)}; from a kill to full use: {sorted(round(seconds, 2) for seconds in refills)} s")
    assert account.clean, account
    assert at_once(few) == TIGHT
    assert [at_once(runs) for runs in customers] == [CUSTOMER] * 2
    assert overfull(paced, PACE.max, PACE.per, storm.losses) == []
    assert max(refills) < storm.lease + LATE


@contextmanager
def away(limiter: Limiter, seconds: float, how: str) -> Iterator[list[int]]:
    """Take the limiter away for a while, the block included; the list gets the moments of its going and coming."""
    moments = [monotonic_ns()]
    ends = monotonic() + seconds
    if how == "hangs":
        limiter.signal(signal.SIGSTOP)
    else:
        limiter.crash()
    try:
        yield moments
        time.sleep(max(ends - monotonic(), 0))  # the length of the outage
    finally:
        if how == "hangs":
            limiter.signal(signal.SIGCONT)
        else:
            limiter.start(empty=how == "empty")
    moments.append(monotonic_ns())


@pytest.mark.parametrize("how", ["crashes", "hangs", pytest.param("empty", marks=pytest.mark.slow)])
def test_while_the_limiter_is_away_queues_wait_or_run_as_told_and_unlimited_ones_do_not_notice(
    how: str, crew: Fleet, limiter: Limiter, ledger: Ledger, drained: Drained
) -> None:
    staffed(crew, 2)
    kinds = [(one_of_few, {"ms": 80}), (come_what_may, {"ms": 80}), (unlimited, {"ms": 0})]
    with Feeder(crew.dsn, ledger, kinds[:2]) as feeder, Trickle(crew.dsn, ledger) as trickle:
        eventually(lambda: len(ledger.keys("end")) > 50, 20, "work")
        with away(limiter, 5, how) as moments:
            pass
        time.sleep(4)  # as long as the comparison needs
    account = drained()
    went, came = moments
    few, brave = (runs_of(ledger, keys) for keys in feeder.keys.values())
    late = sorted(late for key, late in lateness(ledger).items() if key in trickle.keys)
    assert account.clean, account
    assert account.doubled == 0
    assert late[len(late) * 9 // 10] < 0.1
    assert late[-1] < 1
    assert between(few, went + SECOND, came) == []
    assert at_once(few) <= TIGHT
    by_second = [len(between(brave, went + second * SECOND, went + (second + 1) * SECOND)) for second in range(5)]
    assert min(by_second[2:]) > 2 * BRAVE, by_second  # a server that hangs is noticed after a second
    assert at_once(brave, since=came + 2 * SECOND) <= BRAVE
    assert between(few, came, came + 2 * SECOND) != []


class Trickle(threading.Thread):
    """Enqueues an unlimited task every 50 ms."""

    def __init__(self, dsn: str, ledger: Ledger) -> None:
        super().__init__(daemon=True)
        self.keys: set[str] = set()
        self._dsn = dsn
        self._ledger = ledger
        self._end = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()

    def run(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as conn:
            while not self._end.wait(0.05):
                self.keys.update(enqueue_many(conn, self._ledger, unlimited, 1, ms=0))


@pytest.mark.parametrize("how", SLOW_WAYS)
def test_what_runs_all_through_an_outage_of_two_leases_still_counts_afterwards(
    how: str, crew: Fleet, limiter: Limiter, ledger: Ledger, drained: Drained
) -> None:
    staffed(crew, 2)
    with psycopg.connect(crew.dsn, autocommit=True) as conn:
        keys = enqueue_many(conn, ledger, one_of_few, TIGHT, ms=8_000)
        keys += enqueue_many(conn, ledger, for_customer, CUSTOMER, ms=8_000)
        eventually(lambda: set(keys) <= ledger.keys("start"), 15, "the start of the long tasks")
        with away(limiter, 5, how):
            keys += enqueue_many(conn, ledger, one_of_few, 40, ms=20)
            keys += enqueue_many(conn, ledger, for_customer, 10, ms=20)
    account = drained()
    assert account.clean, account
    assert account.doubled == 0
    runs = runs_of(ledger, keys)
    customer = {run.key for run in runs} & set(keys[TIGHT : TIGHT + CUSTOMER] + keys[-10:])
    assert at_once(run for run in runs if run.key not in customer) == TIGHT
    assert at_once(run for run in runs if run.key in customer) == CUSTOMER


def test_a_server_that_forgets_all_scripts_again_and_again_changes_nothing(
    crew: Fleet, limiter: Limiter, ledger: Ledger, drained: Drained
) -> None:
    staffed(crew, 2)
    with Feeder(crew.dsn, ledger, MIXED) as feeder, limiter.client as client:
        ends = monotonic() + 8
        while monotonic() < ends:
            client.script_flush()
            time.sleep(random.uniform(0, 0.2))
    account = drained()
    few, paced, *customers = (runs_of(ledger, keys) for keys in feeder.keys.values())
    assert account.clean, account
    assert account.doubled == 0
    assert at_once(few) == TIGHT
    assert [at_once(runs) for runs in customers] == [CUSTOMER] * 2
    assert overfull(paced, PACE.max, PACE.per) == []
    assert "away" not in crew.log
    assert "Traceback" not in crew.log
    assert "NOSCRIPT" not in crew.log


def test_a_server_that_forgets_everything_again_and_again_lets_no_more_run_at_once(
    crew: Fleet, limiter: Limiter, ledger: Ledger, drained: Drained
) -> None:
    """Between two losses permits are on their way that nobody but their holder knows of."""
    staffed(crew, 2)
    with Feeder(crew.dsn, ledger, [(one_of_few, {"ms": 20}), *MIXED[2:]]) as feeder:
        ends = monotonic() + 8
        while monotonic() < ends:
            limiter.flush()
            time.sleep(random.uniform(0.2, 0.6))
    account = drained()
    few, *customers = (runs_of(ledger, keys) for keys in feeder.keys.values())
    assert account.clean, account
    assert account.doubled == 0
    assert at_once(few) == TIGHT
    assert [at_once(runs) for runs in customers] == [CUSTOMER] * 2


def test_replies_that_are_lost_leak_no_permit_and_break_no_limit(
    crew: Fleet, limiter: Limiter, ledger: Ledger, drained: Drained
) -> None:
    with LossyProxy(limiter.url.removeprefix("unix://"), lose=0.05) as proxy:
        crew.settings = {**crew.settings, "redis_url": proxy.url}
        staffed(crew, 2)
        with Feeder(crew.dsn, ledger, MIXED) as feeder:
            eventually(lambda: proxy.lost > 25, 40, "many lost replies")
        account = drained(60)
        proxy.behave()
        free_again(limiter, float(str(crew.settings["lease"])) + 1)
    few, paced, *customers = (runs_of(ledger, keys) for keys in feeder.keys.values())
    assert account.clean, account
    assert account.doubled == 0
    assert at_once(few) == TIGHT
    assert [at_once(runs) for runs in customers] == [CUSTOMER] * 2
    assert overfull(paced, PACE.max, PACE.per) == []


def free_again(limiter: Limiter, seconds: float) -> None:
    """Wait until the limiter believes that nothing runs, and see that it stays so: nobody renews what nobody runs.

    Idle workers take permits when they look for work, and give them back at once.
    """
    seen: dict[str, float] = {}
    ends = monotonic() + 2 * seconds
    while (now := monotonic()) < ends:
        held = limiter.holds("queue:tight", "queue:paced", "customer:a", "customer:b")
        seen = {permit: seen.get(permit, now) for permit in held}
        assert all(now - since < 0.5 for since in seen.values()) or now < ends - seconds, seen
        time.sleep(0.05)  # often enough: a renewal lasts for a lease


def test_connections_to_postgres_that_are_cut_leak_no_permit(
    crew: Fleet, limiter: Limiter, ledger: Ledger, drained: Drained
) -> None:
    staffed(crew, 2)
    storm = Storm(crew, limiter)
    with Feeder(crew.dsn, ledger, MIXED):
        eventually(lambda: len(ledger.keys("end")) > 50, 20, "work")
        for _ in range(10):
            storm.cut()
            time.sleep(random.uniform(0.1, 0.6))
    account = drained()
    assert account.clean, account
    free_again(limiter, storm.lease + 1)


def test_a_queue_that_is_given_a_limit_starts_nothing_until_fewer_run(
    crew: Fleet, ledger: Ledger, drained: Drained
) -> None:
    """And once it may run more, it does so within a second."""
    staffed(crew, 2)
    with psycopg.connect(crew.dsn, autocommit=True) as conn:
        first = enqueue_many(conn, ledger, unlimited, 8, ms=5_000)
        eventually(lambda: set(first) <= ledger.keys("start"), 15, "the start of the first eight")
        conn.execute("update pgq.queues set concurrency = 2 where name = 'plain'")
        time.sleep(1)  # what a change may take
        later = enqueue_many(conn, ledger, unlimited, 40, ms=300)
        limited = monotonic_ns()
        eventually(lambda: set(first) <= ledger.keys("end"), 15, "the end of the first eight")
        eventually(lambda: len(set(later) & ledger.keys("end")) > 4, 15, "work at the limit")
        conn.execute("update pgq.queues set concurrency = 6 where name = 'plain'")
        raised = monotonic_ns()
    account = drained()
    assert account.clean, account
    runs = runs_of(ledger, [*first, *later])
    assert min(run.began for run in runs if run.key in later) > sorted(run.ended for run in runs if run.key in first)[6]
    assert at_once([run for run in runs if run.began < raised], since=max(r.ended for r in runs if r.key in first)) == 2
    assert limited < min(run.began for run in runs if run.key in later)
    assert at_once(run for run in runs if run.key in later) == 6
    assert refilled(runs, raised, 6) < 1.5


def test_a_worker_that_dies_between_permit_and_claim_leaks_nothing_beyond_its_lease(
    crew: Fleet, limiter: Limiter, ledger: Ledger, drained: Drained
) -> None:
    lease = float(str(crew.settings["lease"]))
    staffed(crew, 2)
    kills = []
    with Feeder(crew.dsn, ledger, [(one_of_few, {"ms": 5})], deep=400) as feeder:
        eventually(lambda: len(ledger.keys("end")) > 20, 20, "work")
        for _ in range(2):
            victim = crew.processes[0]
            eventually(lambda pid=victim.pid: caught_with_a_permit(crew, limiter, pid), 30, "an unused permit")
            crew.kill(victim)
            kills.append(monotonic_ns())
            crew.start()
            time.sleep(lease + LATE)
    account = drained()
    runs = runs_of(ledger, feeder.keys[0])
    assert account.clean, account
    assert at_once(runs) == TIGHT
    assert all(refilled(runs, kill, TIGHT) < lease + LATE for kill in kills)
    free_again(limiter, lease)


def caught_with_a_permit(crew: Fleet, limiter: Limiter, pid: int) -> bool:
    """Stop a worker; return whether a permit is held then that no task carries, else let it go on."""
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.05)  # what was on its way arrives, and others claim what they may
    with limiter.client as client, psycopg.connect(crew.dsn) as conn:
        before = client.zrange("pgq:{queue:tight}:running", 0, -1)
        time.sleep(0.05)  # as above
        stuck = set(before) & set(client.zrange("pgq:{queue:tight}:running", 0, -1))
        rows = conn.execute("select lease from pgq.tasks where queue = 'tight' and status = 'processing'").fetchall()
    if stuck - {row[0].hex for row in rows}:
        return True
    os.kill(pid, signal.SIGCONT)
    time.sleep(random.uniform(0, 0.02))
    return False


def test_workers_whose_queues_wait_for_their_limits_burn_no_processor_time(crew: Fleet, ledger: Ledger) -> None:
    """One queue waits for its window, one for its slots, one for the slots of a key."""
    crew.settings = {**crew.settings, "concurrency": 20}
    staffed(crew, 2)
    with psycopg.connect(crew.dsn, autocommit=True) as conn:
        conn.execute("update pgq.queues set rate_max = 4, rate_per = 3600 where name = 'paced'")
        time.sleep(1)  # what a change may take
        for task in (in_step, one_of_few, for_customer):
            enqueue_many(conn, ledger, task, 200, ms=60_000)
        eventually(lambda: len(ledger.keys("start")) == 4 + TIGHT + CUSTOMER, 15, "the start of what may run")
        time.sleep(1)  # whatever has to be sorted out first
        before = {process.pid: cpu_seconds(process.pid) for process in crew.processes}
        time.sleep(5)  # the length of the measurement
        used = [cpu_seconds(pid) - before[pid] for pid in before]
        conn.execute("select pgq.cancel(id) from pgq.tasks")
    assert max(used) < 0.5, used
    assert len(ledger.keys("start")) == 4 + TIGHT + CUSTOMER


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


@pytest.mark.parametrize(("task", "slots"), [(one_of_few, TIGHT), (for_customer, CUSTOMER)], ids=["queue", "key"])
def test_a_worker_that_wakes_after_its_lease_starts_nothing_that_it_had_claimed(
    task: Any, slots: int, crew: Fleet, ledger: Ledger, drained: Drained
) -> None:
    zombie = crew.start()
    eventually(lambda: registered(crew.dsn) == 1, 15, "the first worker")
    with Feeder(crew.dsn, ledger, [(task, {"ms": 100})]) as feeder:
        for _ in range(2):
            over = eventually_stopped(crew, zombie)
            if len(crew.processes) < 2:
                crew.start()
            before = len(ledger.read("end"))
            eventually(lambda before=before: len(ledger.read("end")) > before + 8, 20, "the other's work")
            eventually(lambda over=over: monotonic_ns() > over + SECOND // 2, 5, "the end of the lease")
            wake(crew, zombie, over)
            time.sleep(1)  # for what should not happen
    account = drained(60)
    assert account.clean, account
    assert at_once(runs_of(ledger, feeder.keys[0])) == slots


def eventually_stopped(crew: Fleet, process: subprocess.Popen[bytes]) -> int:
    """Stop a worker that has claimed several tasks and not started them; returns when its lease will be over."""
    overs: list[int] = []

    def caught() -> bool:
        overs.append(stop(crew, process))
        with psycopg.connect(crew.dsn) as conn:
            cursor = conn.execute(
                "select payload ->> 'key' from pgq.tasks join pgq.workers as w on w.id = worker_id"
                " where status = 'processing' and w.pid = %s",
                (process.pid,),
            )
            claimed = {row[0] for row in cursor.fetchall()}
        if len(claimed - crew.ledger.keys("start")) > 1:
            return True
        wake(crew, process, overs[-1])
        time.sleep(random.uniform(0, 0.02))
        return False

    eventually(caught, 40, "a stop between claim and start")
    return overs[-1]


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
