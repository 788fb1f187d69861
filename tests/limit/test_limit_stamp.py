"""stamp: permits that waited too long for their start count from now."""

from __future__ import annotations

import pytest
from desk import TTL, Desk

from pgq.grants import Taken

FULL = 1.05  # seconds that a unit stays, slack included


def test_a_stamped_permit_stays_a_whole_window_from_then(desk: Desk) -> None:
    queue = desk.queue(1, per=1.0)
    desk.take(queue, "a")
    desk.wait(0.7)
    assert desk.stamp(queue, "a") == [1]
    assert desk.take(queue, "b") == Taken(0, pytest.approx(FULL, abs=2e-6), "rate")


def test_a_permit_that_left_the_window_cannot_be_stamped(desk: Desk) -> None:
    queue = desk.queue(1, per=1.0)
    desk.take(queue, "a")
    desk.wait(FULL)
    assert desk.stamp(queue, "a") == [1]
    desk.wait(FULL, 1)
    assert desk.stamp(queue, "a") == [0]
    assert desk.take(queue, "b").granted == 1


def test_a_permit_whose_hold_lapsed_or_ended_cannot_be_stamped(desk: Desk) -> None:
    queue = desk.queue(5, per=3600.0, slots=5)
    desk.take(queue, "lapsed")
    desk.wait(TTL)
    desk.take(queue, "ended")
    desk.report((queue, ("ended", 1, 0)))
    desk.take(queue, "held")
    assert desk.stamp(queue, "lapsed", "ended", "held", "ghost") == [0, 0, 1, 0]


def test_a_limit_without_a_rate_says_who_is_still_held(desk: Desk) -> None:
    queue = desk.queue(slots=2)
    desk.take(queue, "a")
    assert desk.stamp(queue, "a", "ghost") == [1, 0]


def test_a_hold_that_lapsed_lets_nothing_start_although_its_holder_renews_it(desk: Desk) -> None:
    queue = desk.queue(slots=1)
    desk.take(queue, "stalled")
    desk.wait(TTL)
    desk.take(queue, "heir")
    desk.hold((queue, ("stalled", 1, 1)))
    assert desk.stamp(queue, "stalled", "heir") == [0, 1]


def test_what_was_written_down_by_force_lets_nothing_start(desk: Desk) -> None:
    queue = desk.queue(3, per=60.0, slots=3)
    desk.hold((queue, ("told", 1, 1)), complete=True, units=True)
    assert desk.stamp(queue, "told") == [0]
    assert desk.sums(queue) == (1, 1)


def test_stamping_does_not_renew_a_hold(desk: Desk) -> None:
    queue = desk.queue(9, per=3600.0, slots=2)
    desk.take(queue, "a")
    desk.wait(TTL - 1)
    desk.stamp(queue, "a")
    desk.wait(1)
    assert desk.sums(queue) == (1, 0)


def test_stamping_twice_is_stamping_once(desk: Desk) -> None:
    queue = desk.queue(3, per=1.0)
    desk.take(queue, "a", 2)
    assert desk.stamp(queue, "a") == desk.stamp(queue, "a", "a")[:1] == [1]
    assert desk.sums(queue) == (2, 2)
