"""judge: what is written for each outcome, as a table; clean and failure: what fits into the database."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgq.errors import InvalidOption
from pgq.queue import Settings
from pgq.task import (
    MAX_ERROR,
    MAX_TRACEBACK,
    Cancelled,
    Dead,
    Done,
    Failed,
    HandBack,
    Retry,
    Settled,
    Snooze,
    Task,
    clean,
    failure,
    judge,
)

MOMENT = datetime(2030, 1, 1, tzinfo=UTC)
QUEUE = Settings(name="q", backoff="exponential", delay=2.0, max_delay=100.0)
NO_DEAD = Settings(name="q", keep_dead=False)


def a_task(attempts: int = 1, max_attempts: int = 5) -> Task:
    return Task("q", uuid.UUID(int=1), 1, MOMENT, "work", 5, "{}", attempts, max_attempts, 60.0, 0, MOMENT)


FIRST, THIRD, LAST = a_task(1), a_task(3), a_task(5)
ASKED = "the handler asked for a retry"


@pytest.mark.parametrize(
    ("task", "queue", "outcome", "settled"),
    [
        (FIRST, QUEUE, Done(), Settled("completed")),
        (LAST, QUEUE, Done(), Settled("completed")),
        (FIRST, QUEUE, Retry(), Settled("pending", after=2.0, error=ASKED)),
        (THIRD, QUEUE, Retry(), Settled("pending", after=8.0, error=ASKED)),
        (THIRD, QUEUE, Retry(after=7), Settled("pending", after=7.0, error=ASKED)),
        (THIRD, QUEUE, Retry(after=0), Settled("pending", after=0.0, error=ASKED)),
        (THIRD, QUEUE, Retry(after=-5), Settled("pending", after=0.0, error=ASKED)),
        (THIRD, QUEUE, Retry(timedelta(minutes=2), "busy"), Settled("pending", after=120.0, error="busy")),
        (LAST, QUEUE, Retry(after=7), Settled("dead", error=ASKED)),
        (LAST, NO_DEAD, Retry(after=7), Settled("failed", error=ASKED)),
        (FIRST, QUEUE, Snooze(30), Settled("pending", after=30.0, refund=1)),
        (FIRST, QUEUE, Snooze(-1), Settled("pending", after=0.0, refund=1)),
        (FIRST, QUEUE, Snooze(timedelta(hours=1)), Settled("pending", after=3600.0, refund=1)),
        (FIRST, QUEUE, Snooze(MOMENT), Settled("pending", due=MOMENT, refund=1)),
        (LAST, QUEUE, Snooze(30), Settled("pending", after=30.0, refund=1)),
        (FIRST, QUEUE, Dead("no use"), Settled("dead", error="no use")),
        (FIRST, NO_DEAD, Dead("no use"), Settled("failed", error="no use")),
        (FIRST, QUEUE, Failed("boom", "where"), Settled("pending", after=2.0, error="boom", traceback="where")),
        (THIRD, QUEUE, Failed("boom"), Settled("pending", after=8.0, error="boom")),
        (LAST, QUEUE, Failed("boom", "where"), Settled("dead", error="boom", traceback="where")),
        (LAST, NO_DEAD, Failed("boom", "where"), Settled("failed", error="boom", traceback="where")),
        (a_task(6, 5), QUEUE, Failed("boom"), Settled("dead", error="boom")),
        (a_task(1, 1), QUEUE, Failed("boom"), Settled("dead", error="boom")),
        (LAST, QUEUE, Cancelled(), Settled("cancelled", error="cancelled while it ran")),
        (FIRST, QUEUE, HandBack(), Settled("pending", refund=1)),
        (LAST, QUEUE, HandBack(), Settled("pending", refund=1)),
    ],
    ids=str,
)
def test_each_outcome_is_written_as_the_table_says(
    task: Task, queue: Settings, outcome: object, settled: Settled
) -> None:
    assert judge(task, queue, outcome) == settled


@given(attempts=st.integers(1, 50), most=st.integers(1, 50), error=st.text())
def test_a_failure_is_tried_again_exactly_while_attempts_are_left(attempts: int, most: int, error: str) -> None:
    settled = judge(a_task(attempts, most), QUEUE, Failed(error))
    assert (settled.status == "pending") == (attempts < most)
    assert (settled.after is None) == (settled.status == "dead")


@pytest.mark.parametrize("after", [float("nan"), float("inf"), float("-inf"), 1e18, 10**400, "5", True, timedelta.max])
def test_a_length_of_time_that_no_column_holds_is_refused_inside_the_handler(after: object) -> None:
    with pytest.raises(InvalidOption, match="must be seconds or a timedelta, at most a century"):
        Retry(after)
    with pytest.raises(InvalidOption, match="must be seconds or a timedelta, at most a century"):
        Snooze(after)


def test_a_moment_without_a_time_zone_is_refused_inside_the_handler() -> None:
    with pytest.raises(InvalidOption, match="datetime with a time zone"):
        Snooze(MOMENT.replace(tzinfo=None))


@pytest.mark.parametrize("kind", [Dead, lambda reason: Retry(reason=reason)])
@pytest.mark.parametrize("reason", [None, 5, ValueError("x"), b"x"])
def test_a_reason_that_is_no_text_is_refused_inside_the_handler(kind: object, reason: object) -> None:
    with pytest.raises(InvalidOption, match="must be text"):
        kind(reason)


@pytest.mark.parametrize(
    ("text", "limit", "cleaned"),
    [
        ("plain", 10, "plain"),
        ("abcdef", 3, "abc"),
        ("abcdef", -3, "def"),
        ("a\0b", 10, "a\N{REPLACEMENT CHARACTER}b"),
        ("a\ud800b", 10, "a?b"),
        ("grün 🙂", 10, "grün 🙂"),
        ("", 5, ""),
    ],
)
def test_text_is_made_fit_for_the_database(text: str, limit: int, cleaned: str) -> None:
    assert clean(text, limit) == cleaned


@given(text=st.text(st.characters(exclude_categories=())), limit=st.integers(-50, 50))
def test_cleaned_text_is_short_valid_and_without_nul(text: str, limit: int) -> None:
    cleaned = clean(text, limit)
    cleaned.encode()
    assert "\0" not in cleaned
    assert len(cleaned) <= abs(limit) or limit == 0 == len(cleaned) or len(text) <= abs(limit)


def test_a_failure_keeps_the_beginning_of_the_error_and_the_end_of_the_traceback() -> None:
    failed = failure(ValueError("x" * 30_000 + "end"))
    assert failed.error.startswith("ValueError: xxx")
    assert len(failed.error) == MAX_ERROR
    assert failed.trace.endswith("xend\n")
    assert len(failed.trace) == MAX_TRACEBACK


def test_an_error_whose_text_cannot_be_had_is_still_a_failure() -> None:
    class Broken(Exception):  # noqa: N818
        def __str__(self) -> str:
            raise RuntimeError

    assert failure(Broken()).error.endswith("Broken: (its text cannot be had)")


@given(text=st.text(st.characters(exclude_categories=())))
def test_whatever_an_exception_says_can_be_stored(text: str) -> None:
    failed = failure(ValueError(text))
    assert "\0" not in failed.error + failed.trace
    (failed.error + failed.trace).encode()
