"""An error that nobody foresaw, in a worker's own code, ends no part of it for good."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from serving import serving, until_status

import pgq
import pgq.worker
from pgq.run import Run


@pytest.fixture
def fails_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str], None]:
    """Return what lets one function of a worker fail at its next call."""

    def break_once(owner: Any, name: str) -> None:
        sound, failed = getattr(owner, name), False

        def fail(*values: Any) -> Any:
            nonlocal failed
            if failed:
                return sound(*values)
            failed = True
            raise RuntimeError("nobody foresaw this")

        monkeypatch.setattr(owner, name, fail)

    return break_once


async def test_a_slot_goes_on_and_the_task_it_had_runs_again(
    config: pgq.Config,
    aconn: psycopg.AsyncConnection,
    fails_once: Callable[[Any, str], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = pgq.App()

    @app.queue("q", timeout=1).task
    async def act() -> None:
        """Do nothing."""

    await app.adeclare(aconn)
    first, second = await act.aenqueue(aconn), await act.aenqueue(aconn)
    fails_once(pgq.worker, "judge")
    async with serving(app, replace(config, concurrency=1, overdue=0.5, upkeep=0.2)):
        assert (await until_status(aconn, second, "completed")).attempts == 1
        assert (await until_status(aconn, first, "completed")).attempts == 2
    assert "a slot failed; it goes on" in caplog.text
    assert "nobody foresaw this" in caplog.text


async def test_the_watch_over_deadlines_goes_on(
    config: pgq.Config,
    aconn: psycopg.AsyncConnection,
    fails_once: Callable[[Any, str], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = pgq.App()

    @app.queue("q", max_attempts=1).task
    async def act() -> None:
        await asyncio.sleep(30)

    await app.adeclare(aconn)
    task_id = await act.options(timeout=0.2).aenqueue(aconn)
    fails_once(Run, "end")
    async with serving(app, config):
        row = await until_status(aconn, task_id, "dead")
    assert row.last_error == "timed out after 0.2 s"
    assert "watch failed; it goes on" in caplog.text
