"""A rolling upgrade: workers of two releases beside each other, and the schema changed under load."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from fault_app import work, work_elsewhere, work_in_thread
from fleet import Fleet, eventually, registered
from ledger import Drained, Ledger
from producers import producing
from releases import incompatible_release, next_release

pytestmark = pytest.mark.fault
KINDS = (work, work, work_in_thread, work_elsewhere)


def test_a_rolling_upgrade_under_load_loses_nothing(
    fleet: Fleet, ledger: Ledger, drained: Drained, tmp_path: Path
) -> None:
    release = next_release(tmp_path / "next")
    old = [fleet.start() for _ in range(2)]
    eventually(lambda: registered(fleet.dsn) == 2, 20, "two workers")
    with producing(fleet.dsn, ledger, rate=100, kinds=KINDS):
        eventually(lambda: len(ledger.read("end")) > 100, 20, "throughput")
        migrations = [release.migrating(fleet.dsn) for _ in range(3)]
        said = [migration.communicate(timeout=60)[0] for migration in migrations]
        assert [migration.returncode for migration in migrations] == [0, 0, 0], said
        assert sum("applied 0002_note" in text for text in said) == 1, said
        new = [fleet.start(env=release.env) for _ in range(2)]
        everybody = {process.pid for process in (*old, *new)}
        eventually(lambda: len(everybody & recent(ledger)) == 4, 30, "work of all four")
        assert [fleet.stop(process) for process in old] == [0, 0]
        before = len(ledger.read("end"))
        eventually(lambda: len(ledger.read("end")) > before + 100, 20, "throughput of the new ones alone")
    account = drained()
    assert account.clean, account
    assert account.doubled == 0
    with psycopg.connect(fleet.dsn) as conn:
        notes = conn.execute("select note, count(*) > 50 from pgq.tasks group by 1 order by 1").fetchall()
        (replaced,) = conn.execute("select prosrc like '%the next%' from pg_proc where proname = 'due_time'").fetchall()
    assert notes == [("by the next", True), (None, True)]
    assert replaced == (True,)
    assert "cached plan" not in fleet.log


def test_a_worker_refuses_a_schema_that_needs_newer_code(fleet: Fleet, tmp_path: Path) -> None:
    release = incompatible_release(tmp_path / "after", next_release(tmp_path / "next"))
    migration = release.migrating(fleet.dsn)
    assert "applied 0002_note, 0003_break" in migration.communicate(timeout=60)[0]
    refused, welcome = fleet.start(), fleet.start(env=release.env)
    assert refused.wait(20) != 0
    fleet.processes.remove(refused)
    eventually(lambda: registered(fleet.dsn) == 1, 20, "the newer worker")
    assert "it needs version 3 of the code, this is 1: upgrade pgq-tasks" in fleet.log
    assert welcome.poll() is None


def recent(ledger: Ledger) -> set[int]:
    """Return the processes that started the last two hundred tasks."""
    return {int(words[5]) for words in ledger.read("start")[-200:]}
