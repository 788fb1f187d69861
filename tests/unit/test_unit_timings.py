"""Timings: what is noted, how much of it, and what is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgq.cursor import Clock
from pgq.timings import HIGHEST, LOWEST, OFTEN, Timings, bucket


@given(seconds=st.floats(1e-4, 1e6))
def test_a_bucket_holds_its_length_of_time(seconds: float) -> None:
    number = bucket(seconds)
    assert 2 ** (number / 4) * (1 - 1e-9) <= seconds < 2 ** ((number + 1) / 4) * (1 + 1e-9)


@pytest.mark.parametrize(("seconds", "number"), [(0.0, LOWEST), (-5.0, LOWEST), (1e-9, LOWEST), (1e12, HIGHEST)])
def test_what_is_too_short_or_too_long_is_in_the_last_bucket(seconds: float, number: int) -> None:
    assert bucket(seconds) == number


def pass_by(timings: Timings, tasks: int, waited: float = 0.0, ran: float = 1.0) -> int:
    """Let tasks end as a slot does; returns how many were noted."""
    noted = 0
    for _ in range(tasks):
        timings.left -= 1
        if timings.left <= 0:
            timings.note(waited, ran)
            noted += 1
    return noted


def test_few_tasks_are_noted_all_and_many_are_told_by_some() -> None:
    timings = Timings()
    assert pass_by(timings, OFTEN) == OFTEN
    assert pass_by(timings, 100_000) < 8 * OFTEN
    told = timings.take("jobs")
    assert told is not None
    assert told.values["kinds"] == ["wait", "run"]
    assert told.values["tasks"][0] == told.values["tasks"][1] == pytest.approx(100_000 + OFTEN, rel=0.01)


def test_what_was_told_is_told_once() -> None:
    timings = Timings()
    assert timings.take("jobs") is None
    pass_by(timings, 3, waited=2.0)
    told = timings.take("jobs")
    assert told is not None
    assert dict(told.values) == {"queue": "jobs", "kinds": ["wait", "run"], "buckets": [4, 0], "tasks": [3, 3]}
    assert timings.take("jobs") is None
    assert pass_by(timings, 2) == 2


def test_a_wait_is_measured_by_the_clock_of_the_database_whatever_the_worker_thinks_the_time_is() -> None:
    clock, there = Clock(), datetime(2031, 5, 5, tzinfo=UTC)
    clock.set(there)
    assert clock.waited(there - timedelta(seconds=7), monotonic()) == pytest.approx(7, abs=0.1)
    assert clock.waited(there, monotonic() + 3) == pytest.approx(3, abs=0.1)
