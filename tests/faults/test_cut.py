"""Connections are cut: by the server, by the network, in the middle of a commit."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from time import monotonic, monotonic_ns

import psycopg
import pytest
from fault_app import work
from fleet import Fleet, eventually
from ledger import Drained, Ledger
from pooler import HEARD
from producers import enqueue, producing
from proxy import CuttingProxy
from tempo import back_after
from wire_proxy import WireProxy

pytestmark = pytest.mark.fault

Say = Callable[[str], None]
Lasting = Callable[[float], float]

ROLES = ("claim", "settle", "listen", "heartbeat", "upkeep", "probe", "start")
EACH = ("claim", "settle", "listen", "heartbeat", "upkeep")  # what a worker needs without limits


def backends(conn: psycopg.Connection, *roles: str) -> dict[int, str]:
    """Return the workers' connections of these roles in this database: backend pid and role."""
    rows = conn.execute(
        "select pid, substr(application_name, 5) from pg_stat_activity"
        " where datname = current_database() and application_name = any(%s)",
        ([f"pgq {role}" for role in roles],),
    ).fetchall()
    return dict(rows)


@HEARD
def test_a_storm_of_killed_connections_loses_nothing_and_leaves_none_behind(
    fleet: Fleet, ledger: Ledger, drained: Drained, measured: Say, lasting: Lasting
) -> None:
    fleet.staff(2)
    cut: Counter[str] = Counter()
    with producing(fleet.dsn, ledger, rate=100), psycopg.connect(fleet.dsn, autocommit=True) as conn:
        eventually(lambda: len(backends(conn, "claim", "settle", "listen", "heartbeat")) == 8, 15, "every connection")
        time.sleep(4)  # the throughput before
        begun = monotonic_ns()
        ends = monotonic() + lasting(10)
        while monotonic() < ends:
            if alive := backends(conn, *ROLES):
                pid = random.choice(list(alive))
                cut[alive[pid]] += 1
                conn.execute("select pg_terminate_backend(%s)", (pid,))
            time.sleep(0.2)  # five a second
        over = monotonic_ns()
        eventually(lambda: back_after(ledger, begun, over, 0.98) < 60, 60, "the throughput of before")
        seconds = back_after(ledger, begun, over, 0.98)
    account = drained()
    measured(f"{cut.total()} connections killed; 98 % of before again {seconds:.1f} s after the last")
    with psycopg.connect(fleet.dsn) as conn:  # the same connections as ever, each once
        eventually(lambda: sorted(backends(conn, *ROLES).values()) == sorted(EACH * 2), 15, "no more than it needs")
    assert account.clean, account
    assert account.acked > 200
    assert set(cut) >= {"claim", "settle", "listen", "heartbeat"}
    assert seconds < 10
    assert all(process.poll() is None for process in fleet.processes)


@HEARD
def test_without_its_listener_a_worker_polls_and_the_doorbell_comes_back(
    fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    fleet.start()
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        eventually(lambda: backends(conn, "listen"), 15, "a listener")
        ends = monotonic() + 4
        while monotonic() < ends:
            for pid in backends(conn, "listen", "probe"):
                conn.execute("select pg_terminate_backend(%s)", (pid,))
            enqueue(conn, ledger, work)
            time.sleep(0.05)
        eventually(lambda: ledger.keys("ack") == ledger.keys("end"), 5, "the drain by polling")
        eventually(lambda: backends(conn, "listen"), 15, "the listener's return")
        fleet_is_rung(conn, ledger)
    account = drained()
    assert account.clean, account
    assert account.doubled == 0


def test_a_listener_left_half_open_is_noticed_and_until_then_a_worker_polls(
    fleet: Fleet, ledger: Ledger, drained: Drained, measured: Say
) -> None:
    with WireProxy(fleet.dsn) as proxy, psycopg.connect(fleet.dsn, autocommit=True) as conn:
        fleet.start(dsn=proxy.dsn)
        eventually(lambda: backends(conn, "listen"), 15, "a listener")
        fleet_is_rung(conn, ledger)
        old = backends(conn, "listen")
        assert proxy.half_open("pgq listen") == 1
        began, worst = monotonic(), 0.0

        def noticed() -> bool:
            nonlocal worst
            key, sent = enqueue(conn, ledger, work), monotonic()
            eventually(lambda: key in ledger.keys("start"), 5, "the start")
            worst = max(worst, monotonic() - sent)
            return bool(backends(conn, "listen").keys() - old.keys())

        eventually(noticed, 30, "a new listener")
        seconds = monotonic() - began
        measured(f"noticed after {seconds:.1f} s, meanwhile the longest wait for a start was {worst:.2f} s")
        assert seconds < 15
        assert worst < float(str(fleet.settings["poll"])) + 2
        fleet_is_rung(conn, ledger)
        account = drained()
    assert account.clean, account
    assert account.doubled == 0


def fleet_is_rung(conn: psycopg.Connection, ledger: Ledger) -> None:
    """Wait until an enqueue to a sleeping worker starts far sooner than its poll."""

    def quick() -> bool:
        time.sleep(0.6)  # longer than a poll: the worker sleeps
        key = enqueue(conn, ledger, work)
        sent = monotonic()
        eventually(lambda: key in ledger.keys("start"), 5, "the start")
        return monotonic() - sent < 0.1

    eventually(lambda: all(quick() for _ in range(3)), 20, "the doorbell's return")


def test_a_network_that_cuts_connections_at_any_moment_loses_nothing(
    fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    """Replies get lost too, those of commits among them: what was written is not written again."""
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        conn.execute("update pgq.queues set timeout = 3")  # when a claim's reply is lost, upkeep brings its tasks back
    fleet.settings = {**fleet.settings, "overdue": 1}
    with CuttingProxy(fleet.dsn, every=(0.02, 0.25)) as proxy:
        fleet.staff(2, dsn=proxy.dsn)
        proxy.cut(True)
        with producing(fleet.dsn, ledger, rate=150):
            eventually(lambda: len(ledger.keys("end")) > 600, 40, "work")
        assert proxy.cuts > 30
        proxy.cut(False)
        account = drained()
    assert account.clean, account
    assert all(process.poll() is None for process in fleet.processes)


def test_a_worker_stopped_in_the_middle_of_a_recovery_does_not_keep_others_from_it(
    fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    fleet.settings = {**fleet.settings, "upkeep": 0.02}
    stopped = fleet.start()
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        keys = frozenset(enqueue(conn, ledger, work, ms=30_000) for _ in range(4))
        eventually(lambda: len(ledger.keys("start")) == 4, 15, "the start of all tasks")

        def caught() -> bool:
            stopped.send_signal(signal.SIGSTOP)
            time.sleep(0.02)  # what was on its way arrives
            if recovery_is_held(conn):
                return True
            stopped.send_signal(signal.SIGCONT)
            time.sleep(random.uniform(0, 0.02))
            return False

        eventually(caught, 20, "a stop inside a recovery")
        ledger.killed(stopped.pid)  # it never wakes again
        fleet.settings = {**fleet.settings, "upkeep": 0.3}
        fleet.start()
        eventually(lambda: len(ledger.read("start")) == 8, 20, "the second run of all tasks")
        conn.execute("select pgq.cancel(id) from pgq.tasks")
    fleet.kill(stopped)
    account = drained(excused=keys)
    assert account.clean, account
    assert account.doubled == 4


def recovery_is_held(conn: psycopg.Connection) -> bool:
    """Return whether somebody is in the middle of a recovery."""
    cursor = conn.execute("select step from pgq.upkeep where step = 'recover' for update skip locked")
    return cursor.fetchall() == []
