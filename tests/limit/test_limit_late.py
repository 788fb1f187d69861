"""Starts that come late: units leave the window only once their holder has said that all of them has begun."""

from __future__ import annotations

import pytest
from desk import TTL, Desk

from pgq.grants import Request, Taken

FULL = 1.05  # seconds that a unit stays, slack included


@pytest.fixture
def desk(desk: Desk) -> Desk:
    """Every verb, where nobody says that anything has begun."""
    desk.prompt = False
    return desk


def test_what_may_still_start_does_not_leave_the_window(desk: Desk) -> None:
    queue = desk.queue(1, per=1.0)
    desk.take(queue, "a")
    for _ in range(5):
        desk.wait(FULL, 1)
        assert desk.take(queue, "b").granted == 0
    desk.begin((queue, "a", 1))
    assert desk.take(queue, "b") == Taken(0, pytest.approx(1.0, abs=2e-6), "rate")
    desk.wait(1.0, 1)
    assert desk.take(queue, "b").granted == 1


def test_a_start_that_was_in_time_counts_as_if_nobody_had_said_anything_else(desk: Desk) -> None:
    queue = desk.queue(1, per=1.0)
    desk.take(queue, "a")
    desk.wait(0.9)
    desk.begin((queue, "a", 1), ago=0.88)
    desk.wait(FULL - 0.9)
    assert desk.take(queue, "b").granted == 0
    desk.wait(0, 1)
    assert desk.take(queue, "b").granted == 1


@pytest.mark.parametrize("running", [1, 0])
def test_a_late_start_counts_from_its_own_moment_however_late_it_is_told(desk: Desk, running: int) -> None:
    queue = desk.queue(1, per=1.0)
    desk.take(queue, "a")
    desk.wait(0.9)
    desk.report((queue, ("a", 1, running, 100_000, 300_000)))
    assert desk.take(queue, "b") == Taken(0, pytest.approx(0.7, abs=2e-6), "rate")


def test_what_ended_counts_from_its_end_where_nobody_says_when_it_had_begun(desk: Desk) -> None:
    queue = desk.queue(2, per=1.0)
    desk.take(queue, "a", 2)
    desk.wait(0.9)
    desk.report((queue, ("a", 2, 1, 100_000, None)))
    desk.wait(0.9, 1)
    assert desk.take(queue, "b", 2).granted == 1
    desk.wait(1)
    assert desk.take(queue, "b", 2).granted == 1, "the other may still start"


def test_a_heavy_task_that_has_begun_leaves_as_a_whole(desk: Desk) -> None:
    one = desk.key("x", 5, per=1.0)
    desk.acquire(Request("a", (one,), 5))
    desk.report((one, ("a", 5, 1, None, 0)))
    desk.wait(FULL)
    assert desk.sums(one) == (5, 1)
    desk.wait(0, 1)
    assert desk.sums(one) == (0, 1)


def test_who_is_silent_for_its_lease_starts_nothing_afterwards(desk: Desk) -> None:
    queue = desk.queue(1, per=1.0)
    desk.take(queue, "a")
    desk.wait(TTL + 1)
    assert desk.sums(queue) == (1, 0)
    desk.wait(0, 1)
    assert desk.keys() != set()
    assert desk.sums(queue) == (0, 0)
    assert desk.keys() == set()


def test_a_renewal_says_nothing_of_a_start(desk: Desk) -> None:
    queue = desk.queue(1, per=1.0)
    desk.take(queue, "a")
    for _ in range(3):
        desk.wait(TTL, -1)
        desk.hold((queue, ("a", 1, 1)))
    assert desk.sums(queue) == (1, 1)


def test_a_start_is_said_of_one_grant_and_not_of_the_next_under_its_name(desk: Desk) -> None:
    queue = desk.queue(1, per=1.0)
    desk.take(queue, "a")
    desk.begin((queue, "a", 1))
    desk.wait(FULL, 1)
    assert desk.take(queue, "a").granted == 1
    desk.wait(FULL, 1)
    assert desk.sums(queue) == (1, 1)


def test_permits_told_by_force_run_already(desk: Desk) -> None:
    queue = desk.queue(1, per=1.0)
    desk.hold((queue, ("a", 1, 1)), complete=True, units=True)
    desk.wait(FULL, 1)
    assert desk.sums(queue) == (0, 1)
