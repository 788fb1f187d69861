"""Limits hold while the limiter is away, empty, forgetful or not heard, and unlimited queues do not notice."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, monotonic_ns
from typing import Self

import psycopg
import pytest
from fleet import Fleet, eventually
from ledger import Drained, Ledger
from limited_app import BRAVE, CUSTOMER, MIXED, PACE, TIGHT, come_what_may, for_customer, one_of_few, unlimited
from proxy import LossyProxy
from servers import Limiter
from storm import Feeder, enqueue_many, free_again, staffed
from tempo import SECOND, at_once, between, overfull, runs_of
from test_wakeup import lateness

pytestmark = pytest.mark.fault

SLOW_WAYS = ["hangs", pytest.param("crashes", marks=pytest.mark.slow), pytest.param("empty", marks=pytest.mark.slow)]


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
    how: str, crew: Fleet, limiter: Limiter, ledger: Ledger, drained: Drained, measured: Callable[[str], None]
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
    assert late[len(late) * 9 // 10] < 0.5
    assert late[-1] < 3
    assert between(few, went + SECOND, came) == []
    assert at_once(few) <= TIGHT
    by_second = [len(between(brave, went + second * SECOND, went + (second + 1) * SECOND)) for second in range(5)]
    assert min(by_second[2:]) > 2 * BRAVE, by_second  # a server that hangs is noticed after a second
    assert at_once(brave, since=came + 2 * SECOND) <= BRAVE
    again = min((run.began - came) / SECOND for run in few if run.began > came)
    measured(f"started again {again:.1f} s after it came back")
    assert again < 10  # 0.6 s where nobody else wants the processors


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
    assert TIGHT / 2 < at_once(few) <= TIGHT
    assert all(0 < at_once(runs) <= CUSTOMER for runs in customers)


def test_replies_that_are_lost_leak_no_permit_and_break_no_limit(
    crew: Fleet, limiter: Limiter, ledger: Ledger, drained: Drained
) -> None:
    with LossyProxy(limiter.url.removeprefix("unix://"), lose=0.05) as proxy:
        crew.settings = {**crew.settings, "redis_url": proxy.url}
        staffed(crew, 2)
        with Feeder(crew.dsn, ledger, MIXED) as feeder:
            eventually(lambda: proxy.lost > 25, 40, "many lost replies")
        proxy.behave()
        account = drained(60)
        free_again(limiter, float(str(crew.settings["lease"])) + 1)
    few, paced, *customers = (runs_of(ledger, keys) for keys in feeder.keys.values())
    assert account.clean, account
    assert account.doubled == 0
    assert TIGHT / 2 < at_once(few) <= TIGHT
    assert all(0 < at_once(runs) <= CUSTOMER for runs in customers)
    assert overfull(paced, PACE.max, PACE.per) == []
