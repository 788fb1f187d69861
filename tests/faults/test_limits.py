"""Limits hold whatever happens to workers, to the limiter, and to the way between them.

What a killed worker ran was over when it was killed; for one that was stopped see `test_limits_asleep`.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from statistics import median
from time import monotonic_ns

import psycopg
import pytest
from fleet import Fleet, children_of, cpu_seconds, eventually, kill_pid, registered
from ledger import Drained, Ledger
from limited_app import CUSTOMER, MIXED, PACE, TIGHT, for_customer, in_step, one_of_few, unlimited
from servers import Limiter
from storm import Feeder, Storm, enqueue_many, free_again, staffed
from tempo import at_once, crowd, overfull, refilled, runs_of

pytestmark = pytest.mark.fault

Keep = Callable[[str, Mapping[str, float]], None]
FAULTS = int(os.environ.get("FAULTS", "20"))
LOOK = 0.3  # seconds between two looks at the limiter where the machine is busy
LATE = 3.0  # seconds more than the lease that a slot may take to be used again: the machine is busy, and a worker that
# finds the limiter back tells it of the tasks of a dead one too, up to a second after both died


@pytest.mark.timeout(100 + 8 * FAULTS)
def test_limits_hold_in_a_storm_of_faults(
    crew: Fleet, limiter: Limiter, ledger: Ledger, drained: Drained, measured: Callable[[str], None], keep: Keep
) -> None:
    """What a killed worker held is free within its lease; each loss of memory costs one window's worth.

    FAULTS says how many (FAULTS=200 takes about eight minutes), PGQ_KEEP where to keep what came of it.
    """
    staffed(crew, 3)
    storm = Storm(crew, limiter)
    with Feeder(crew.dsn, ledger, MIXED) as feeder:
        eventually(lambda: len(ledger.keys("end")) > 50, 20, "work")
        happened = storm.blow(FAULTS)
    account = drained(60)
    few, paced, *customers = (runs_of(ledger, keys) for keys in feeder.keys.values())
    refills = [refilled(few, kill, TIGHT) for kill in storm.kills]
    measured(f"{dict(happened)}; from a kill to full use: {sorted(round(seconds, 2) for seconds in refills)} s")
    full = overfull(paced, PACE.max, PACE.per, storm.losses)
    most = {"tight": at_once(few), "customer": max(at_once(runs) for runs in customers)}
    keep(
        "storm of faults under limits",
        {
            "faults": FAULTS,
            **happened,
            **{name: account.figures()[name] for name in ("acked", "runs", "lost", "overlap", "stuck")},
            f"at_once_of_{TIGHT}_max": most["tight"],
            f"at_once_of_{CUSTOMER}_max": most["customer"],
            "overfull_windows": len(full),
            "lease_s": storm.lease,
            "slots_held_after_kill_max_s": max(storm.held),
            "slots_back_after_kill_max_s": max(refills),
            "slots_back_after_kill_p50_s": median(refills),
        },
    )
    assert account.clean, account
    assert crowd(few, TIGHT) == []
    assert most == {"tight": TIGHT, "customer": CUSTOMER}
    assert [at_once(runs) for runs in customers] == [CUSTOMER] * 2
    assert full == []
    assert max(storm.held) < storm.lease + LOOK
    free_again(limiter, storm.lease + 1)


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


def test_what_a_worker_held_is_free_at_once_where_its_supervisor_sees_it_die(
    crew: Fleet, limiter: Limiter, ledger: Ledger, drained: Drained
) -> None:
    crew.settings = {**crew.settings, "lease": 300, "upkeep": 300}
    supervisor = crew.start("supervisor", "2")
    eventually(lambda: registered(crew.dsn) == 2, 20, "two workers")
    with psycopg.connect(crew.dsn, autocommit=True) as conn:
        few = enqueue_many(conn, ledger, one_of_few, TIGHT, ms=2_000)
        customer = enqueue_many(conn, ledger, for_customer, CUSTOMER, ms=2_000)
        eventually(lambda: {*few, *customer} <= ledger.keys("start"), 15, "the start of all tasks")
        for victim in children_of(supervisor.pid):
            kill_pid(victim, ledger)
        few += enqueue_many(conn, ledger, one_of_few, TIGHT, ms=20)
    account = drained(30)  # far less than the lease
    assert account.clean, account
    assert account.doubled == TIGHT + CUSTOMER
    assert at_once(runs_of(ledger, few)) == TIGHT
    assert at_once(runs_of(ledger, customer)) == CUSTOMER
    eventually(lambda: not limiter.holds("queue:tight", "customer:a"), 10, "the end of every hold")


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
    assert max(used) < 1, used  # a fifth of one processor; less and less, the longer nothing ends
    assert len(ledger.keys("start")) == 4 + TIGHT + CUSTOMER
