"""The primary dies and its standby takes over: what was acknowledged, and what of that may be gone."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from fault_app import app
from fleet import Fleet, eventually, registered
from ledger import NEVER, Drained, Ledger
from producers import producing
from replicas import Pair, pair

from pgq import migrate

pytestmark = pytest.mark.fault
SETTLED = 0.5  # seconds after its end by which an outcome has been written and received


@pytest.fixture
def servers() -> Iterator[Pair]:
    """Return a primary with a standby that follows it."""
    with pair({}) as servers:
        yield servers


@pytest.fixture
def dsn(servers: Pair) -> str:
    """Return a DSN with both servers in it."""
    with psycopg.connect(servers.primary.dsn, autocommit=True) as conn:
        conn.execute("create database ours")
    dsn = servers.dsn_of("ours")
    with psycopg.connect(dsn, autocommit=True) as conn:
        migrate.migrate(conn)
        app.declare(conn)
    return dsn


def enqueue_noting_transaction(conn: psycopg.Connection, ledger: Ledger, task: Any) -> str:
    """Enqueue one task, and note which transaction it is."""
    key = uuid.uuid4().hex
    ledger.write("intent", key)
    with conn.transaction():
        task_id = task.enqueue(conn, key=key)
        ((xid,),) = conn.execute("select pg_current_xact_id()::text").fetchall()
        ledger.write("xid", key, xid)
    ledger.write("ack", key, task_id)
    return key


@dataclass(frozen=True)
class Loss:
    """When replication was held and the primary lost (nanoseconds), and how far the standby had its log."""

    held: int
    lost: int
    received: int


def fail_over_under_load(servers: Pair, fleet: Fleet, ledger: Ledger, seconds: float) -> Loss:
    """Hold replication for a while, lose the primary, promote, and see that work goes on."""
    for _ in range(2):
        fleet.start()
    eventually(lambda: registered(fleet.dsn) == 2, 20, "two workers")
    with producing(fleet.dsn, ledger, rate=100, how=enqueue_noting_transaction):
        eventually(lambda: len(ledger.read("end")) > 200, 20, "throughput")
        servers.hold_replication()
        held = time.monotonic_ns()
        time.sleep(seconds)
        lost, received = servers.lose_primary()
        before = len(ledger.read("end"))
        eventually(lambda: len(ledger.read("end")) > before + 100, 20, "throughput after the promotion")
    return Loss(held, lost, received)


def test_a_promoted_asynchronous_standby_lost_what_it_had_not_received_and_nothing_else(
    servers: Pair, fleet: Fleet, ledger: Ledger, drained: Drained, measured: Callable[[str], None]
) -> None:
    with psycopg.connect(fleet.dsn) as conn:
        ((start,),) = conn.execute("select pg_current_wal_lsn()::text").fetchall()
    loss = fail_over_under_load(servers, fleet, ledger, 0.5)
    commits = servers.commits(start)
    # The standby gives the numbers of the transactions it never heard of to others.
    transactions = {key: int(xid) for when, key, xid in ledger.read("xid") if int(when) < loss.lost}
    beyond = {key for key, xid in transactions.items() if commits.get(xid, 0) > loss.received}
    window = beyond & ledger.keys("ack")
    account = drained(excused=frozenset(window))
    assert 10 < len(window) < 200
    assert account.clean, account
    assert not stored(fleet.dsn) & beyond
    runs = Counter(run.key for run in ledger.runs())
    again = {key for key, count in runs.items() if count > 1}
    assert all(first_end(ledger, key) > loss.held - SETTLED * 1e9 for key in again)
    assert all(process.poll() is None for process in fleet.processes)
    ids = {key: task_id for _, key, task_id in ledger.read("ack")}
    again = {ids[key] for key in window} & {task_id for key, task_id in ids.items() if key not in window}
    measured(f"{len(window)} of {account.acked} acknowledged tasks lost, {len(again)} of their ids given to others")


def test_a_promoted_synchronous_standby_lost_nothing(
    servers: Pair, fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    with psycopg.connect(servers.primary.dsn, autocommit=True) as conn:
        conn.execute("alter system set synchronous_standby_names = 'standby'")
        conn.execute("select pg_reload_conf()")
        query = "select count(*) from pg_stat_replication where sync_state = 'sync'"
        eventually(lambda: conn.execute(query).fetchall() == [(1,)], 10, "a synchronous standby")
    fail_over_under_load(servers, fleet, ledger, 0.5)
    account = drained()
    assert account.clean, account
    assert all(process.poll() is None for process in fleet.processes)


def stored(dsn: str) -> set[str]:
    """Return the keys of all tasks in the database."""
    with psycopg.connect(dsn) as conn:
        return {key for (key,) in conn.execute("select payload ->> 'key' from pgq.tasks").fetchall()}


def first_end(ledger: Ledger, key: str) -> int:
    """Return when a task's first run ended."""
    return min(run.ended or NEVER for run in ledger.runs() if run.key == key)
