"""The clock of Postgres is set while workers work: nothing starts early, nobody is buried, nothing is stuck."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import clocks
import psycopg
import pytest
from clocks import Clock
from fault_app import LONG, work
from fleet import Fleet, eventually, registered
from ledger import Drained, Ledger
from producers import enqueue, producing
from servers import durable_postgres

from pgq import embedded

pytestmark = [pytest.mark.fault, clocks.NEEDED]
HOUR = 3_600


@pytest.fixture(scope="module")
def setting() -> Iterator[Clock]:
    """Return the clock of the module's server, whose user can read it."""
    with tempfile.TemporaryDirectory(prefix="pgq-clock-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Clock(Path(folder) / "clock")


@pytest.fixture(scope="module")
def postgres(setting: Clock) -> Iterator[embedded.Postgres]:
    """Return a durable server whose clock can be set."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in setting.env.items():
                patch.setenv(name, value)
            server = stack.enter_context(durable_postgres())
        yield server


@pytest.fixture
def clock(setting: Clock) -> Clock:
    """Return the clock of the server, right again."""
    setting.set(0)
    return setting


def off_by(dsn: str) -> float:
    """Return how far ahead the database's clock is."""
    with psycopg.connect(dsn) as conn:
        ((now,),) = conn.execute("select extract(epoch from clock_timestamp())::float8").fetchall()
    return float(now) - time.time()


def said_of_clocks(dsn: str) -> str:
    """Return the state of the health check."""
    with psycopg.connect(dsn) as conn:
        ((status,),) = conn.execute("select status from pgq.health where name = 'clocks'").fetchall()
    return str(status)


def test_a_clock_set_ahead_buries_nobody_and_starts_what_is_due_by_it(
    clock: Clock, fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    for _ in range(2):
        fleet.start()
    eventually(lambda: registered(fleet.dsn) == 2, 20, "two workers")
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        due = enqueue(conn, ledger, work.options(delay=HOUR / 2))
        much_later = enqueue(conn, ledger, work.options(delay=2 * HOUR))
        running = [enqueue(conn, ledger, work, ms=8_000) for _ in range(8)]
        eventually(lambda: ledger.keys("start") >= set(running), 15, "the start of the long tasks")
        clock.set(HOUR)
        assert HOUR - 5 < off_by(fleet.dsn) < HOUR + 5
        soon, asked = enqueue(conn, ledger, work.options(delay=3)), time.monotonic_ns()
        with producing(fleet.dsn, ledger, rate=50, kinds=(work,)):
            eventually(lambda: ledger.keys("end") >= {due, soon, *running}, 30, "the end of all that is due")
        assert much_later not in ledger.keys("start")
        conn.execute("select pgq.cancel(id) from pgq.tasks where status = 'pending' and scheduled_at > now()")
    account = drained(excused=frozenset({much_later}))
    assert account.clean, account
    assert account.doubled == 0
    assert next(run.began for run in ledger.runs() if run.key == soon) - asked > 2.9e9
    assert "declared dead" not in fleet.log
    assert "went ahead by 36" in fleet.log
    assert said_of_clocks(fleet.dsn) == "ok"


def test_after_a_clock_was_set_back_a_dead_worker_is_noticed_and_new_tasks_start_at_once(
    clock: Clock, fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    victim, _ = fleet.start(), fleet.start()
    eventually(lambda: registered(fleet.dsn) == 2, 20, "two workers")
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        for _ in range(16):
            enqueue(conn, ledger, work, ms=LONG)
        eventually(lambda: len(ledger.keys("start")) == 16, 15, "the start of all tasks")
        fleet.kill(victim)
        clock.set(-HOUR)
        new, asked = enqueue(conn, ledger, work), time.monotonic_ns()
        eventually(lambda: new in ledger.keys("end"), 10, "the end of a new task")
    account = drained(20)  # far less than an hour
    assert account.clean, account
    assert account.doubled == 8
    assert next(run.began for run in ledger.runs() if run.key == new) - asked < 5e9
    assert "went back by 36" in fleet.log


def test_the_health_check_says_that_the_clock_was_set_back_until_the_workers_are_heard_of_again(
    clock: Clock, fleet: Fleet
) -> None:
    worker = fleet.start()
    eventually(lambda: registered(fleet.dsn) == 1, 20, "a worker")
    worker.send_signal(signal.SIGSTOP)
    clock.set(-HOUR)
    assert said_of_clocks(fleet.dsn) == "critical"
    worker.send_signal(signal.SIGCONT)
    eventually(lambda: said_of_clocks(fleet.dsn) == "ok", 15, "the worker's next heartbeat")
