"""A process that is stopped between the moment at which a task may start and its first line starts it late.

No check can be close enough to the first line. So the limiter keeps the place of a start until it hears of it.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fleet import Fleet, eventually
from ledger import Drained, Ledger
from limited_app import PACE, at_host, in_step, late_at_host, late_in_step, late_in_thread
from storm import Feeder, enqueue_many, staffed
from tempo import overfull, runs_of

pytestmark = pytest.mark.fault

LATE = PACE.per / 2  # seconds; less than the window and than the lease
TIMES = 3


@pytest.mark.parametrize(
    ("late", "others"),
    [(late_in_step, in_step), (late_in_thread, in_step), (late_at_host, at_host)],
    ids=["loop", "thread", "key"],
)
def test_a_start_that_comes_late_leaves_no_window_too_full(
    late: Any, others: Any, crew: Fleet, ledger: Ledger, drained: Drained
) -> None:
    staffed(crew, 2)
    keys: list[str] = []

    def begun() -> int:
        return len(set(keys) & ledger.keys("start"))

    with Feeder(crew.dsn, ledger, [(others, {"ms": 5})]) as feeder, psycopg.connect(crew.dsn, autocommit=True) as conn:
        eventually(lambda: len(ledger.keys("end")) > PACE.max, 20, "work")
        for number in range(TIMES):
            keys += enqueue_many(conn, ledger, late.options(priority=0), 1)
            eventually(lambda: any(map(stopped, pids(crew))), 20, "a stop")
            time.sleep(LATE)
            for pid in filter(stopped, pids(crew)):
                os.kill(pid, signal.SIGCONT)
            eventually(lambda number=number: begun() > number, 5, "the late start")
            time.sleep(2 * PACE.per)  # the windows it lies in
    account = drained()
    assert account.clean, account
    assert account.doubled == 0
    assert overfull(runs_of(ledger, [*keys, *feeder.keys[0]]), PACE.max, PACE.per) == []


def pids(crew: Fleet) -> list[int]:
    return [process.pid for process in crew.processes]


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"
