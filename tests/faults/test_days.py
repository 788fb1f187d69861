"""The days of the table: made, dropped, missing or overfull while everybody works and somebody reads for very long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

import psycopg
import pytest
from factory import make_day
from fault_app import work
from fleet import Fleet, eventually
from ledger import Drained, Ledger
from producers import enqueue, producing
from tempo import SECOND

pytestmark = pytest.mark.fault

Say = Callable[[str], None]
Lasting = Callable[[float], float]
AHEAD = 8  # days that upkeep keeps made, today among them


def days(conn: psycopg.Connection) -> set[str]:
    """Return the partitions that are attached, the default one left out."""
    rows = conn.execute(
        "select inhrelid::regclass::text from pg_inherits where inhparent = 'pgq.tasks'::regclass"
        " and inhrelid <> 'pgq.tasks_default'::regclass"
    )
    return {row[0] for row in rows.fetchall()}


def drop_days(conn: psycopg.Connection) -> None:
    """Drop every day, as if nobody had made any for weeks; what they hold goes to the default partition."""
    with conn.transaction():
        conn.execute("lock table pgq.tasks in access exclusive mode")
        for day in days(conn):
            conn.execute(f"alter table pgq.tasks detach partition {day}")
            conn.execute(f"insert into pgq.tasks select * from {day}")
            conn.execute(f"drop table {day}")
        conn.execute("delete from pgq.partitions")
        conn.execute("update pgq.upkeep set ran_at = clock_timestamp() where step = 'make partitions'")


def make_now(conn: psycopg.Connection) -> None:
    """Let the next upkeep make partitions, and drop them, at once."""
    conn.execute("update pgq.upkeep set ran_at = '-infinity' where step in ('make partitions', 'drop partitions')")


def all_made(conn: psycopg.Connection) -> bool:
    """Return whether today and every day ahead is there; each turn of upkeep makes one."""
    make_now(conn)
    return len(days(conn)) >= AHEAD


def enqueue_seconds(dsn: str, ledger: Ledger, over: threading.Event) -> list[float]:
    """Enqueue single tasks until it is over; returns how long each took."""
    took = []
    with psycopg.connect(dsn, autocommit=True) as conn:
        while not over.wait(0.02):
            began = monotonic()
            enqueue(conn, ledger, work)
            took.append(monotonic() - began)
    return sorted(took)


@contextmanager
def enqueueing(dsn: str, ledger: Ledger) -> Iterator[list[float]]:
    """Enqueue single tasks while the block runs; afterwards the list holds how long each took, in order."""
    over, took = threading.Event(), []
    thread = threading.Thread(target=lambda: took.extend(enqueue_seconds(dsn, ledger, over)))
    thread.start()
    try:
        yield took
    finally:
        over.set()
        thread.join()


def share(took: list[float], of: float) -> float:
    return took[int(len(took) * of)]


def test_enqueues_hardly_wait_for_days_that_are_made_and_dropped_behind_long_readers(
    fleet: Fleet, ledger: Ledger, drained: Drained, measured: Say, lasting: Lasting
) -> None:
    fleet.staff(1)
    with psycopg.connect(fleet.dsn, autocommit=True) as conn, psycopg.connect(fleet.dsn) as reader:
        old = f"pgq.{make_day(conn, -40)}"
        newest = max(days(conn))
        conn.execute(f"drop table {newest}")
        conn.execute("delete from pgq.partitions where name = %s", (newest.removeprefix("pgq."),))
        reader.execute("set transaction isolation level repeatable read")
        reader.execute("select count(*) from pgq.tasks")
        conn.execute("update pgq.partitions set sealed_at = starts_at where name = %s", (old.removeprefix("pgq."),))
        turns = 0
        with enqueueing(fleet.dsn, ledger) as took:
            ends = monotonic() + lasting(12)
            while monotonic() < ends:
                make_now(conn)
                turns += 1
                time.sleep(0.7)  # a turn of upkeep, and the half second for which it may wait
            assert old in days(conn)  # the reader is in the way
            assert newest not in days(conn)
            reader.rollback()
            eventually(
                lambda: all_made(conn) and (old in days(conn), newest in days(conn)) == (False, True), 30, "both steps"
            )
        tries = f"{turns} rounds of upkeep behind a reader"
    account = drained()
    measured(f"{tries}: enqueue p50 {share(took, 0.5) * 1e3:.0f} ms, p99 {share(took, 0.99):.2f} s")
    assert account.clean, account
    assert account.doubled == 0
    assert share(took, 0.99) < 1
    assert "deadlock" not in fleet.log


def test_without_any_day_tasks_go_to_the_default_partition_and_the_days_come_back(
    fleet: Fleet, ledger: Ledger, drained: Drained, measured: Say
) -> None:
    fleet.staff(2)
    with producing(fleet.dsn, ledger, rate=80), psycopg.connect(fleet.dsn, autocommit=True) as conn:
        eventually(lambda: len(ledger.keys("end")) > 50, 20, "work")
        drop_days(conn)
        before = len(ledger.read("end"))
        eventually(lambda: len(ledger.read("end")) > before + 100, 20, "work without days")
        assert days(conn) == set()
        held = conn.execute("select count(*) from pgq.tasks_default").fetchall()[0][0]
        assert held > 100
        eventually(lambda: all_made(conn), 40, "the days' return")
        before = len(ledger.read("end"))
        eventually(lambda: len(ledger.read("end")) > before + 100, 20, "work with days")
        assert conn.execute("select count(*) from pgq.tasks_default").fetchall() == [(0,)]
    account = drained()
    measured(f"{held} tasks moved from the default partition")
    assert account.clean, account
    assert account.doubled == 0


def test_a_default_partition_with_many_rows_is_emptied_while_others_work(
    fleet: Fleet, ledger: Ledger, drained: Drained, measured: Say, lasting: Lasting
) -> None:
    """Of the days ahead come four in five of them, and one in five of days far beyond."""
    many = round(lasting(200_000))
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        drop_days(conn)
        conn.execute(
            "insert into pgq.tasks (queue, task, status, timeout, max_attempts, scheduled_at)"
            " select 'other', 'work_elsewhere', 'pending', 60, 5,"
            " clock_timestamp() + (2 + n %% 10) * interval '12 hours' + (n %% 5 / 4) * interval '30 days'"
            " from generate_series(1, %s) as n",
            (many,),
        )
        fleet.staff(1)
        with enqueueing(fleet.dsn, ledger) as took:
            began = monotonic()
            eventually(lambda: all_made(conn), lasting(60), "the days' return")
            seconds = monotonic() - began
        rest = conn.execute("select count(*) from pgq.tasks_default").fetchall()[0][0]
        assert rest == many / 5
        assert conn.execute("select count(*) from pgq.tasks where queue = 'other'").fetchall() == [(many,)]
        conn.execute("delete from pgq.tasks where queue = 'other'")
    account = drained()
    longest = f"enqueue p99 {share(took, 0.99):.2f} s, at most {took[-1]:.2f} s"
    measured(f"{many - rest:,} of {many:,} rows went to their days in {seconds:.1f} s; {longest}")
    assert account.clean, account
    assert account.doubled == 0
    assert took[-1] < 5


def test_a_snapshot_held_all_the_while_slows_nothing(
    fleet: Fleet, ledger: Ledger, drained: Drained, measured: Say, lasting: Lasting
) -> None:
    fleet.staff(2)
    with psycopg.connect(fleet.dsn) as holder, producing(fleet.dsn, ledger, rate=150, kinds=(work,)):
        holder.execute("set transaction isolation level repeatable read")
        holder.execute("select pg_current_xact_id()")
        enqueue(holder, ledger, work)  # in a savepoint: it stays open
        begun, span = time.monotonic_ns(), round(lasting(24) * SECOND)
        time.sleep(span / SECOND)
        holder.commit()
    account = drained()
    waited = waits(ledger, begun, span // 3), waits(ledger, begun + 2 * span // 3, span // 3)
    first, last = ([share(part, of) for of in (0.5, 0.99)] for part in waited)
    measured(
        f"from commit to start p50 {first[0] * 1e3:.0f}, p99 {first[1] * 1e3:.0f} ms in the first third,"
        f" {last[0] * 1e3:.0f}, {last[1] * 1e3:.0f} ms in the last"
    )
    assert account.clean, account
    assert account.doubled == 0
    assert last[0] < first[0] + 0.05
    assert last[1] < first[1] + 1


def waits(ledger: Ledger, began: int, length: int) -> list[float]:
    """Return the seconds from commit to start of the tasks committed in a span of time, in order."""
    started = {words[1]: int(words[0]) for words in ledger.read("start")}
    acked = ((words[1], int(words[0])) for words in ledger.read("ack"))
    return sorted(max(0, started[key] - when) / SECOND for key, when in acked if began <= when < began + length)
