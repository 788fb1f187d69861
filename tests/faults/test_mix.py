"""Everybody changes the same tasks at once: nobody deadlocks, nobody gets an error that is no answer."""

from __future__ import annotations

import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from fault_app import wander, work, work_elsewhere
from fleet import Fleet, eventually
from ledger import Drained, Ledger
from producers import enqueue
from stages import recover

from pgq import letters
from pgq.errors import PgqError

pytestmark = pytest.mark.fault

Say = Callable[[str], None]
Lasting = Callable[[float], float]
Act = Callable[[psycopg.Connection], object]
SHARED = 150  # tasks that all of them meet at
OTHER = letters.Which(queue="other")


def some_task(conn: psycopg.Connection, queue: str) -> int:
    """Return any task of a queue."""
    rows = conn.execute(
        "select id from pgq.tasks where queue = %s order by id desc offset floor(random() * %s) limit 1",
        (queue, SHARED),
    ).fetchall()
    return int(rows[0][0]) if rows else 0


def in_random_order(function: str, queue: str, count: int) -> Act:
    """Do something to several tasks, each in a transaction of its own."""

    def act(conn: psycopg.Connection) -> None:
        for _ in range(count):
            conn.execute(f"select pgq.{function}(%s)", (some_task(conn, queue),))

    return act


def enqueue_unique(conn: psycopg.Connection, ledger: Ledger) -> None:
    """Enqueue under one of few keys, in the place of whoever has it; one that runs already is another task."""
    key = uuid.uuid4().hex
    ledger.write("intent", key)
    unique = {"unique_key": f"unique-{random.randrange(20)}", "on_conflict": random.choice(("replace", "skip"))}
    work_elsewhere.options(**unique).enqueue(conn, key=key)


def bring_near(conn: psycopg.Connection) -> None:
    """Make what waits in the days ahead due now: every row goes to another partition."""
    for (task_id,) in conn.execute(
        "select id from pgq.tasks where scheduled_at > now() + interval '1 hour' order by random() limit 20"
    ).fetchall():
        conn.execute("select pgq.retry(%s)", (task_id,))


class Actors:
    """Threads that each do one thing over and over; `done` counts it, `errors` are what nobody may see."""

    def __init__(self, dsn: str) -> None:
        self.done: Counter[str] = Counter()
        self.errors: list[str] = []
        self._dsn = dsn
        self._over = threading.Event()

    @contextmanager
    def acting(self, acts: dict[str, Act], each: int = 2) -> Iterator[None]:
        """Let each act happen in several threads while the block runs."""
        threads = [threading.Thread(target=self._act, args=act) for act in acts.items() for _ in range(each)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _act(self, name: str, act: Act) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as conn:
            while not self._over.wait(random.uniform(0, 0.05)):
                try:
                    act(conn)
                except PgqError:
                    self.done[f"{name}, refused"] += 1
                except psycopg.Error as error:
                    if not (error.sqlstate or "").startswith("PQ"):
                        self.errors.append(f"{name}: {error!r}")
                self.done[name] += 1


def test_all_that_may_be_done_to_tasks_at_once_ends_in_no_deadlock_and_no_error(
    fleet: Fleet, ledger: Ledger, drained: Drained, measured: Say, lasting: Lasting
) -> None:
    fleet.settings = {**fleet.settings, "upkeep": 0.05}
    fleet.staff(2)
    actors = Actors(fleet.dsn)
    acts: dict[str, Act] = {
        "enqueue": lambda conn: [enqueue(conn, ledger, task) for task in (work, wander, wander)],
        "enqueue unique": lambda conn: enqueue_unique(conn, ledger),
        "cancel": in_random_order("cancel", "other", 5),
        "retry": in_random_order("retry", "other", 5),
        "retry of the other queue": in_random_order("retry", "load", 5),
        "replay": lambda conn: list(letters.replay(conn, OTHER)),
        "purge": lambda conn: list(letters.purge(conn, letters.Which(queue="other", older=1.0))),
        "recover": lambda conn: [recover(conn, queue) for queue in ("other", "load")],
        "bring near": bring_near,
    }
    with actors.acting(acts):
        threading.Event().wait(lasting(20))
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        mine = frozenset(row[0] for row in conn.execute("select payload ->> 'key' from pgq.tasks where queue = 'load'"))
        loose = ledger.keys("intent") - mine  # may be cancelled or purged at any time
        conn.execute("select pgq.cancel(id) from pgq.tasks where queue = 'other' and status = 'pending'")
        eventually(lambda: settled(conn, "load"), 40, "the end of all tasks")
        conn.execute("select pgq.cancel(id) from pgq.tasks where queue = 'other' and status = 'pending'")
        account = drained(excused=frozenset(loose))
        deadlocks = conn.execute("select deadlocks from pg_stat_database where datname = current_database()").fetchall()
    measured(f"{actors.done.total()} changes by {2 * len(acts)} sessions, {deadlocks[0][0]} deadlocks")
    assert actors.errors == []
    assert deadlocks == [(0,)]
    assert account.clean, account
    assert all(actors.done[name] > 20 for name in acts), actors.done
    assert "deadlock" not in fleet.log


def settled(conn: psycopg.Connection, queue: str) -> bool:
    cursor = conn.execute(
        "select count(*) from pgq.tasks where queue = %s and status in ('pending', 'processing')", (queue,)
    )
    return cursor.fetchall() == [(0,)]
