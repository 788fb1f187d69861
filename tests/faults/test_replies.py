"""The reply of a commit is lost: it happened, and whoever asked for it cannot know."""

from __future__ import annotations

import contextlib
import random
import threading
import uuid
from collections.abc import Callable, Iterator

import psycopg
import pytest
from fault_app import work
from fleet import Fleet, eventually
from ledger import Drained, Ledger
from producers import producing
from wire_proxy import WireProxy

pytestmark = pytest.mark.fault

Say = Callable[[str], None]
Lasting = Callable[[float], float]
SHARE = 0.2  # of the replies


@pytest.fixture
def lossy(dsn: str) -> Iterator[WireProxy]:
    """Return a proxy that loses nothing yet."""
    with WireProxy(dsn) as proxy:
        yield proxy


def insist(dsn: str, ledger: Ledger, count: int) -> None:
    """Enqueue tasks with a unique key each, every one again and again until it is acknowledged."""
    for _ in range(count):
        key = uuid.uuid4().hex
        ledger.write("intent", key)
        while True:
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(dsn) as conn:
                task_id = work.options(unique_key=key, on_conflict="return_existing").enqueue(conn, key=key)
                conn.commit()
                break
        ledger.write("ack", key, task_id)


def test_an_enqueue_repeated_under_its_unique_key_is_one_task(
    lossy: WireProxy, fleet: Fleet, ledger: Ledger, drained: Drained, measured: Say, lasting: Lasting
) -> None:
    lossy.lose = lambda _, tag: tag == "COMMIT" and random.random() < SHARE
    each = int(lasting(100))
    threads = [threading.Thread(target=insist, args=(lossy.to("user"), ledger, each)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fleet.start()
    account = drained()
    measured(f"{lossy.lost['user']} replies of COMMIT lost")
    assert lossy.lost["user"] > each / 4
    assert account.clean, account
    assert (account.acked, account.runs, account.doubled) == (4 * each, 4 * each, 0)
    with psycopg.connect(fleet.dsn) as conn:
        rows = conn.execute("select count(*), count(distinct payload ->> 'key') from pgq.tasks").fetchall()
    assert rows == [(4 * each, 4 * each)]


def test_an_enqueue_that_was_not_repeated_is_there_or_is_not_and_nothing_else(
    lossy: WireProxy, fleet: Fleet, ledger: Ledger, drained: Drained, measured: Say, lasting: Lasting
) -> None:
    lossy.lose = lambda _, tag: tag == "COMMIT" and random.random() < SHARE
    fleet.start()
    with producing(lossy.to("user"), ledger, rate=100):
        eventually(lambda: len(ledger.keys("end")) > lasting(300), lasting(40), "work")
    account = drained()
    measured(f"{lossy.lost['user']} replies of COMMIT lost; all of those tasks ran although nobody was told")
    assert account.clean, account
    assert account.doubled == 0
    assert ledger.keys("end") > ledger.keys("ack")


@pytest.mark.parametrize("roles", [("pgq claim",), ("pgq settle",), ("pgq claim", "pgq settle")], ids=" and ".join)
def test_a_worker_whose_replies_are_lost_runs_nothing_twice(
    roles: tuple[str, ...],
    lossy: WireProxy,
    fleet: Fleet,
    ledger: Ledger,
    drained: Drained,
    measured: Say,
    lasting: Lasting,
) -> None:
    fleet.staff(2, dsn=lossy.dsn)
    lossy.lose = lambda role, tag: role in roles and tag[-2:] != " 0" and random.random() < SHARE / 4
    with producing(fleet.dsn, ledger, rate=100):
        eventually(lambda: len(ledger.keys("end")) > lasting(500), lasting(60), "work")
    lossy.lose = lambda *_: False
    account = drained()
    measured(f"replies lost: {dict(lossy.lost)}")
    assert account.clean, account
    assert account.doubled == 0
    assert sorted(lossy.lost) == list(roles)
    assert all(process.poll() is None for process in fleet.processes)
