"""A child process takes a while to import the app: no part of any task's timeout, but with a bound of its own."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import psycopg
import pytest
import slow_app
from serving import eventually, serving, task_row, until_status

import pgq


@pytest.fixture
def impatient(config: pgq.Config) -> pgq.Config:
    """Return settings by which upkeep takes a task away 0.3 s past its timeout."""
    return replace(config, overdue=0.3, upkeep=0.1)


async def a_child_starts(worker: Any) -> None:
    async def preparing() -> bool:
        return any(run.preparing for run in worker.runner.running.values())

    await eventually(preparing)


@pytest.mark.parametrize("task", [slow_app.left_to_the_process, slow_app.left], ids=["process", "isolated"])
@pytest.mark.parametrize("attempts", [1, 5])
async def test_an_import_that_takes_longer_than_the_timeout_costs_nothing_of_it(
    impatient: pgq.Config, aconn: psycopg.AsyncConnection, monkeypatch: pytest.MonkeyPatch, task: Any, attempts: int
) -> None:
    monkeypatch.setenv("SLOW_IMPORT", "2.5")
    await slow_app.app.adeclare(aconn)
    task_id = await task.options(max_attempts=attempts).aenqueue(aconn)
    await aconn.execute("update pgq.tasks set crashes = 1")  # whatever its kind, it runs in a process of its own
    async with serving(slow_app.app, impatient):
        row = await until_status(aconn, task_id, "dead")
    assert row.attempts == 1
    assert 0.3 < float(row.last_error) <= 0.5
    assert (row.completed_at - row.started_at).total_seconds() < 1.5
    assert (row.started_at - row.scheduled_at).total_seconds() > 2.5


async def test_the_timeout_counts_from_when_the_process_is_ready(
    impatient: pgq.Config, aconn: psycopg.AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOW_IMPORT", "1")
    await slow_app.app.adeclare(aconn)
    task_id = await slow_app.overrun.aenqueue(aconn)
    async with serving(slow_app.app, replace(impatient, overdue=5)):
        row = await until_status(aconn, task_id, "dead")
    assert row.last_error == "timed out after 0.5 s"
    assert 0.5 <= (row.completed_at - row.started_at).total_seconds() < 1.2


async def test_a_process_that_does_not_become_ready_in_time_is_a_failed_attempt_that_says_so(
    config: pgq.Config, aconn: psycopg.AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOW_IMPORT", "600")
    await slow_app.app.adeclare(aconn)
    task_id = await slow_app.left_to_the_process.options(max_attempts=2).aenqueue(aconn)
    async with serving(slow_app.app, replace(config, startup=0.5)):
        row = await until_status(aconn, task_id, "dead")
    said = "its process was not ready 0.5 s after its start: importing slow_app:app takes too long"
    assert (row.last_error, row.attempts) == (said, 2)


async def test_a_process_that_cannot_import_the_app_is_a_failed_attempt_that_says_so(
    config: pgq.Config, aconn: psycopg.AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOW_IMPORT", "fails")
    await slow_app.app.adeclare(aconn)
    task_id = await slow_app.left_to_the_process.options(max_attempts=1).aenqueue(aconn)
    async with serving(slow_app.app, config):
        row = await until_status(aconn, task_id, "dead")
    assert row.last_error == "its process ended with exit code 1 before it was ready: its worker's log shows why"


async def test_a_task_may_be_cancelled_while_its_process_starts(
    config: pgq.Config, aconn: psycopg.AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOW_IMPORT", "600")
    await slow_app.app.adeclare(aconn)
    task_id = await slow_app.left_to_the_process.aenqueue(aconn)
    async with serving(slow_app.app, config) as worker:
        await a_child_starts(worker)
        await aconn.execute("select pgq.cancel(%s)", (task_id,))
        await until_status(aconn, task_id, "cancelled")
        await eventually(lambda: asyncio.sleep(0, not worker.runner.running))


async def test_a_worker_that_stops_hands_back_what_waits_for_its_process(
    config: pgq.Config, aconn: psycopg.AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOW_IMPORT", "600")
    await slow_app.app.adeclare(aconn)
    task_id = await slow_app.left_to_the_process.aenqueue(aconn)
    async with serving(slow_app.app, replace(config, grace=0.1)) as worker:
        await a_child_starts(worker)
    row = await task_row(aconn, task_id)
    assert (row.status, row.attempts, row.crashes) == ("pending", 0, 0)
