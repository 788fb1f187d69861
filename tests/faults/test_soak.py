"""What a worker holds does not grow, whatever it has run: memory, file descriptors, connections."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression

import psycopg
import pytest
from fault_app import swallow, work, work_in_process, work_in_thread
from fleet import Fleet, children_of, eventually
from ledger import Drained, Ledger
from pooler import WANTED
from storm import enqueue_many

from pgq.payload import MAX_BYTES

pytestmark = pytest.mark.fault

Say = Callable[[str], None]
Lasting = Callable[[float], float]
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Held:
    """What a process holds; memory in MiB, its own and its children's."""

    memory: float
    files: int
    sessions: tuple[str, ...]  # their names
    threads: int

    @classmethod
    def by(cls, pid: int, conn: psycopg.Connection) -> Held:
        """Look at a worker, the only one of its database."""
        family = [pid, *children_of(pid)]
        pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in family)
        cursor = conn.execute(
            "select application_name from pg_stat_activity"
            " where datname = current_database() and application_name like 'pgq %' order by 1"
        )
        files, threads = (len(list(Path(f"/proc/{pid}/{what}").iterdir())) for what in ("fd", "task"))
        return cls(pages * os.sysconf("SC_PAGE_SIZE") / MIB, files, tuple(name for (name,) in cursor), threads)


def test_rounds_of_thousands_of_tasks_leave_a_worker_as_it_was(
    fleet: Fleet, ledger: Ledger, drained: Drained, measured: Say, lasting: Lasting
) -> None:
    fleet.settings = {**fleet.settings, "lease": 9}
    rounds = round(lasting(8))
    fleet.staff(1)
    held = []
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        # The last connection comes with the first heartbeat.
        eventually(lambda: "pgq heartbeat" in Held.by(fleet.processes[0].pid, conn).sessions, 15, "a heartbeat")
        for _ in range(rounds + 2):
            for task, count in ((work, 1_000), (work_in_thread, 300), (work_in_process, 100), (swallow, 100)):
                more = {"blob": "x" * 1_000, "loud": True} if task is swallow else {"ms": 0}
                enqueue_many(conn, ledger, task, count, **more)
            eventually(lambda: open_tasks(conn) == 0, 120, "the end of a round")
            held.append(Held.by(fleet.processes[0].pid, conn))
    account = drained()
    before, after = held[2], held[-1]
    slope = linear_regression(range(rounds), [one.memory for one in held[2:]]).slope
    measured(
        f"{rounds} rounds of 1,500: {before.memory:.0f} MiB, then {after.memory:.0f}, {slope:+.2f} a round; {after}"
    )
    assert account.clean, account
    assert slope < 0.5
    assert after.files <= before.files + 2
    assert after.threads <= before.threads + 1
    assert after.sessions == before.sessions or WANTED  # a pooler's are of whoever used them last


def open_tasks(conn: psycopg.Connection) -> int:
    cursor = conn.execute("select count(*) from pgq.tasks where status in ('pending', 'processing')")
    return int(cursor.fetchall()[0][0])


@pytest.mark.parametrize("loud", [False, True], ids=["as payloads", "as payloads and errors"])
def test_tasks_of_the_largest_size_fill_neither_memory_nor_the_line(
    loud: bool, fleet: Fleet, ledger: Ledger, drained: Drained, measured: Say, lasting: Lasting
) -> None:
    """Each task is as large as allowed; small ones among them get their turn. A claim's rows bound the memory."""
    count = round(lasting(150))
    fleet.settings = {**fleet.settings, "lease": 30, "batch": 20}
    blob = "x" * (MAX_BYTES - 200)
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        enqueue_many(conn, ledger, work, 1_000, ms=0)  # which make a worker claim far ahead
        for _ in range(count):
            enqueue_many(conn, ledger, swallow, 1, blob=blob, loud=loud)
        enqueue_many(conn, ledger, work, 500, ms=1)
        fleet.staff(1)
        before = Held.by(fleet.processes[0].pid, conn).memory
        most = before

        def over() -> bool:
            nonlocal most
            most = max(most, Held.by(fleet.processes[0].pid, conn).memory)
            return open_tasks(conn) == 0

        eventually(over, lasting(60), "the end of all tasks")
        kept = conn.execute("select max(octet_length(last_error) + octet_length(traceback)) from pgq.tasks").fetchall()
    account = drained()
    measured(f"{count} tasks of 1 MiB: {before:.0f} MiB before, {most:.0f} at most")
    assert account.clean, account
    assert account.doubled == (count if loud else 0)
    assert most < before + 100
    assert not loud or kept[0][0] < 100_000
