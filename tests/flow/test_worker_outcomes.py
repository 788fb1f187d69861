"""What a handler returns or raises becomes what the row says."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import worker_app
from serving import burst, serving, task_row, until_status

import pgq

KINDS = ["async", "thread"]
Raise = Callable[[], Any]


def app_that(kind: str, result: Callable[[], Any], **settings: Any) -> tuple[pgq.App, Any]:
    """Return an app with one task of one kind that does what `result` does."""
    app = pgq.App()
    queue = app.queue("q", **settings)
    if kind == "async":

        @queue.task
        async def act() -> Any:
            return result()

        return app, act

    @queue.task(name="act")
    def act_in_thread() -> Any:
        return result()

    return app, act_in_thread


def raising(error: BaseException) -> Raise:
    def act() -> None:
        raise error

    return act


async def outcome_of(
    kind: str, result: Callable[[], Any], config: pgq.Config, aconn: psycopg.AsyncConnection, **settings: Any
) -> Any:
    """Run one task once and return its row."""
    app, act = app_that(kind, result, **settings)
    await app.adeclare(aconn)
    task_id = await act.aenqueue(aconn)
    await burst(app, config)
    return await task_row(aconn, task_id)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [None, 42, object(), pgq.Retry, "Retry", Exception("returned, not raised")])
async def test_any_other_return_value_means_done(
    kind: str, value: Any, config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    row = await outcome_of(kind, lambda: value, config, aconn)
    assert (row.status, row.attempts, row.last_error) == ("completed", 1, None)


@pytest.mark.parametrize("kind", KINDS)
async def test_retry_counts_the_attempt_and_waits_as_asked(
    kind: str, config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    row = await outcome_of(kind, lambda: pgq.Retry(600, "host is busy"), config, aconn)
    assert (row.status, row.attempts, row.last_error) == ("pending", 1, "host is busy")
    assert row.started_at + timedelta(seconds=600) < row.scheduled_at < row.seen_at + timedelta(seconds=600)
    assert row.completed_at is None


async def test_retry_on_the_last_attempt_is_dead(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    app, act = app_that("async", lambda: pgq.Retry(0.01), max_attempts=2)
    await app.adeclare(aconn)
    task_id = await act.aenqueue(aconn)
    async with serving(app, config):
        row = await until_status(aconn, task_id, "dead")
    assert row.attempts == 2
    assert row.last_error == "the handler asked for a retry"


async def test_out_of_attempts_in_a_queue_without_dead_letters_is_failed(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    row = await outcome_of("async", raising(ValueError("no")), config, aconn, max_attempts=1, keep_dead=False)
    assert row.status == "failed"


@pytest.mark.parametrize(
    "until",
    [lambda: 600, lambda: timedelta(minutes=10), lambda: datetime.now(UTC) + timedelta(minutes=10)],
    ids=["seconds", "timedelta", "datetime"],
)
async def test_snooze_spends_no_attempt(
    until: Callable[[], Any], config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    row = await outcome_of("async", lambda: pgq.Snooze(until()), config, aconn, max_attempts=1)
    assert (row.status, row.attempts, row.last_error) == ("pending", 0, None)
    assert timedelta(seconds=500) < row.scheduled_at - row.seen_at < timedelta(seconds=600)


@pytest.mark.parametrize("kind", KINDS)
async def test_dead_gives_up_at_once(kind: str, config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    row = await outcome_of(kind, lambda: pgq.Dead("address does not exist"), config, aconn, max_attempts=9)
    assert (row.status, row.attempts, row.last_error) == ("dead", 1, "address does not exist")


@pytest.mark.parametrize("kind", KINDS)
async def test_an_exception_fails_the_attempt_and_its_traceback_is_kept(
    kind: str, config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    row = await outcome_of(kind, raising(ValueError("no such address")), config, aconn, max_attempts=1)
    assert (row.status, row.last_error) == ("dead", "ValueError: no such address")
    assert "raise error" in row.traceback
    assert __file__ in row.traceback


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "error",
    [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), StopIteration(), TimeoutError()],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_a_handler_raises_is_its_own_failed_attempt(
    kind: str, error: BaseException, config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app, act = app_that(kind, raising(error), max_attempts=1)
    after = app.queue("after").task(name="fine")(fine)
    await app.adeclare(aconn)
    task_id = await act.aenqueue(aconn)
    async with serving(app, config):
        row = await until_status(aconn, task_id, "dead")
        next_id = await after.aenqueue(aconn)
        await until_status(aconn, next_id, "completed")
    assert row.attempts == 1
    assert type(error).__name__ in row.last_error or "StopIteration" in row.last_error


async def fine() -> None: ...


class Unspeakable(Exception):  # noqa: N818 - named after what it is
    """An exception that cannot even be printed."""

    def __str__(self) -> str:
        raise RuntimeError("and its text fails too")


BAD_OUTCOMES: dict[str, Callable[[], Any]] = {
    "retry after nan": lambda: pgq.Retry(float("nan")),
    "retry after infinity": lambda: pgq.Retry(float("inf")),
    "retry after ages": lambda: pgq.Retry(1e300),
    "retry after all time": lambda: pgq.Retry(timedelta.max),
    "retry after text": lambda: pgq.Retry("soon"),  # type: ignore[arg-type]
    "retry for no text": lambda: pgq.Retry(1, None),  # type: ignore[arg-type]
    "snooze until text": lambda: pgq.Snooze("tomorrow"),  # type: ignore[arg-type]
    "snooze until None": lambda: pgq.Snooze(None),  # type: ignore[arg-type]
    "snooze for nan": lambda: pgq.Snooze(float("nan")),
    "snooze until the end of time": lambda: pgq.Snooze(datetime.max.replace(tzinfo=UTC)),
    "dead for no text": lambda: pgq.Dead(None),  # type: ignore[arg-type]
    "unspeakable exception": raising(Unspeakable()),
}


@pytest.mark.parametrize("bad", BAD_OUTCOMES)
async def test_a_bad_outcome_hurts_nobody_but_its_task(
    bad: str, config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app, act = app_that("async", BAD_OUTCOMES[bad], max_attempts=1)
    after = app.queue("after").task(name="fine")(fine)
    await app.adeclare(aconn)
    async with serving(app, config):
        bad_ids = [await act.aenqueue(aconn) for _ in range(config.concurrency + 1)]
        good = [await after.aenqueue(aconn) for _ in range(20)]
        for task_id in good:
            await until_status(aconn, task_id, "completed", seconds=4)
        for task_id in bad_ids:
            row = await until_status(aconn, task_id, "dead", "pending", seconds=2)
            assert row.lease is None or row.status == "dead"


async def test_an_exception_group_is_kept_whole(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    error = ExceptionGroup("two of three hosts", [ValueError("first"), OSError("second")])
    row = await outcome_of("async", raising(error), config, aconn, max_attempts=1)
    assert row.last_error == "ExceptionGroup: two of three hosts (2 sub-exceptions)"
    assert "ValueError: first" in row.traceback
    assert "OSError: second" in row.traceback


@pytest.mark.parametrize("kind", KINDS)
async def test_what_postgres_cannot_store_is_replaced_in_the_error(
    kind: str, config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    row = await outcome_of(kind, raising(ValueError("nul \0, surrogate \ud800, end")), config, aconn, max_attempts=1)
    assert row.status == "dead"
    assert row.last_error == "ValueError: nul \N{REPLACEMENT CHARACTER}, surrogate ?, end"
    assert "end" in row.traceback


async def test_a_traceback_of_a_megabyte_is_cut(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    row = await outcome_of("async", raising(ValueError("x" * 1_000_000 + "the end")), config, aconn, max_attempts=1)
    assert row.last_error == "ValueError: " + "x" * (2_000 - len("ValueError: "))
    assert len(row.traceback) == 20_000
    assert row.traceback.endswith("the end\n")


async def test_backoff_doubles_from_attempt_to_attempt(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    ended: list[datetime] = []

    def fail() -> None:
        ended.append(datetime.now(UTC))
        raise ValueError("again")

    app, act = app_that("async", fail, max_attempts=5, backoff=pgq.Exponential(1))
    await app.adeclare(aconn)
    task_id = await act.aenqueue(aconn)
    async with serving(app, config):
        for attempt, delay in enumerate((1, 2, 4, 8), start=1):
            row = await until_next_attempt(aconn, task_id, attempt)
            earliest, latest = ended[-1] + timedelta(seconds=delay), row.seen_at + timedelta(seconds=delay)
            assert earliest <= row.scheduled_at <= latest
            await aconn.execute("select pgq.retry(%s)", (task_id,))  # due now: nobody waits 15 s for this
        row = await until_status(aconn, task_id, "dead")
    assert (row.attempts, len(ended)) == (5, 5)


async def until_next_attempt(aconn: psycopg.AsyncConnection, task_id: int, attempt: int) -> Any:
    """Wait until a task waits for its next attempt, after so many."""
    row = await until_status(aconn, task_id, "pending")
    while row.attempts < attempt or row.status != "pending":
        row = await until_status(aconn, task_id, "pending")
    return row


async def test_a_payload_that_does_not_fit_fails_only_itself(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    app = pgq.App()

    @app.queue("q", max_attempts=1).task
    async def greet(name: str) -> None: ...

    await app.adeclare(aconn)
    columns = "(queue, task, payload, timeout, max_attempts)"
    add = f"insert into pgq.tasks {columns} values ('q', 'greet', %s, 9, 1) returning id"
    bodies = ['{"nom": "Ada"}', "[1, 2]", "null", '"text"', '{"name": 1, "name": 2, "x": 3}', "[" * 5000 + "]" * 5000]
    bad = [(await (await aconn.execute(add, (body,))).fetchall())[0][0] for body in bodies]
    good = await greet.aenqueue(aconn, name="Ada")
    await burst(app, config)
    assert (await task_row(aconn, good)).status == "completed"
    for task_id in bad:
        row = await task_row(aconn, task_id)
        assert row.status == "dead", row.payload
        assert row.last_error


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("error", "ValueError: no such image"),
        ("exit", "SystemExit: 3"),
        ("interrupt", "KeyboardInterrupt: "),
        ("cancelled", "CancelledError: "),
        ("hard exit", "its process ended with exit code 7"),
        ("killed", "its process was killed by SIGKILL"),
    ],
)
async def test_a_process_handler_that_fails_says_how(
    kind: str, error: str, config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    await worker_app.app.adeclare(aconn)
    failing = await worker_app.fail_with.options(max_attempts=1).aenqueue(aconn, kind)
    fine = await worker_app.chatter.aenqueue(aconn)
    await burst(worker_app.app, config)
    row = await task_row(aconn, failing)
    assert (row.status, row.attempts, row.last_error) == ("dead", 1, error)
    assert (await task_row(aconn, fine)).status == "completed"


async def test_a_process_handler_s_error_text_is_made_fit_too(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    await worker_app.app.adeclare(aconn)
    task_id = await worker_app.fail_with.options(max_attempts=1).aenqueue(aconn, "noise")
    await burst(worker_app.app, config)
    row = await task_row(aconn, task_id)
    assert row.last_error.startswith("ValueError: a\N{REPLACEMENT CHARACTER}b?cxxx")
    assert len(row.traceback) == 20_000


@pytest.mark.parametrize(
    ("outcome", "status", "attempts"),
    [("retry", "pending", 1), ("snooze", "pending", 0), ("dead", "dead", 1), ("garbage", "completed", 1)],
)
async def test_a_process_handler_s_outcome_travels_back(
    outcome: str, status: str, attempts: int, config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    await worker_app.app.adeclare(aconn)
    task_id = await worker_app.ask_for.aenqueue(aconn, outcome)
    await burst(worker_app.app, config)
    row = await task_row(aconn, task_id)
    assert (row.status, row.attempts) == (status, attempts)


async def test_an_exit_inside_a_thread_ends_neither_worker_nor_test(
    config: pgq.Config, aconn: psycopg.AsyncConnection
) -> None:
    row = await outcome_of("thread", lambda: sys.exit("bye"), config, aconn, max_attempts=1)
    assert (row.status, row.last_error) == ("dead", "SystemExit: bye")
