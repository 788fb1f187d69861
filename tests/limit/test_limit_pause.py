"""pause: let nothing start for a while."""

from __future__ import annotations

import pytest
from desk import Desk, granted

from pgq.grants import Request, Standing, Taken


def test_nothing_starts_until_the_pause_ends_to_the_microsecond(desk: Desk) -> None:
    queue = desk.queue(5, per=1.0)
    assert desk.pause(3.0, queue) == 3.0
    assert desk.take(queue, "a") == Taken(0, 3.0, "paused")
    desk.wait(3.0, -1)
    assert desk.take(queue, "a") == Taken(0, 1e-6, "paused")
    desk.wait(0, 1)
    assert desk.take(queue, "a") == Taken(1)


def test_a_longer_pause_that_is_on_already_stays(desk: Desk) -> None:
    queue = desk.queue(slots=1)
    desk.pause(10.0, queue)
    assert desk.pause(2.0, queue) == 10.0
    desk.wait(4.0)
    assert desk.pause(8.0, queue) == 8.0
    assert desk.look(queue)[0].paused == 8.0


def test_a_pause_is_of_some_keys_and_no_others(desk: Desk) -> None:
    paused, also, free = (desk.key(key, 5, per=1.0) for key in ("paused", "also", "free"))
    desk.pause(5.0, paused, also)
    answers = desk.acquire(*(Request(one.name, (one,)) for one in (paused, also, free)))
    assert granted(answers) == [False, False, True]
    assert [answers[0].wait, answers[0].limit] == [pytest.approx(5.0), paused]


def test_what_runs_goes_on_and_is_reported_as_ever(desk: Desk) -> None:
    queue = desk.queue(5, per=60.0, slots=5)
    desk.take(queue, "a", 2)
    desk.pause(5.0, queue)
    assert desk.look(queue) == [Standing(2, 2, 5.0, 5.0)]
    desk.report((queue, ("a", 2, 1)))
    assert desk.sums(queue) == (2, 1)


def test_a_pause_outlives_an_idle_limit_and_then_leaves_nothing(desk: Desk) -> None:
    key = desk.key("a", 5, per=1.0)
    desk.pause(100.0, key)
    assert 100.0 < desk.plain.pttl(key.keys[2]) / 1000 <= 101.0
    desk.wait(99.0)
    assert desk.look(key)[0].paused == 1.0
    desk.wait(1.0)
    desk.look(key)
    assert desk.keys() == set()


def test_a_clock_set_back_does_not_make_a_pause_longer(desk: Desk) -> None:
    queue = desk.queue(5, per=1.0)
    desk.pause(5.0, queue)
    desk.wait(-3600)
    assert desk.take(queue, "a") == Taken(0, 5.0, "paused")


def test_permits_that_were_granted_before_are_kept(desk: Desk) -> None:
    queue = desk.queue(5, per=60.0)
    desk.take(queue, "a", 2)
    desk.pause(5.0, queue)
    assert desk.take(queue, "a", 2) == Taken(2)
    assert desk.stamp(queue, "a") == [1]
