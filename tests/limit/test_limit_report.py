"""report: what permits used and still run; it only ever lowers."""

from __future__ import annotations

import pytest
from desk import TTL, Desk, granted

from pgq.grants import Request, Taken


def test_what_was_not_used_makes_room_at_once(desk: Desk) -> None:
    queue = desk.queue(5, per=60.0, slots=5)
    desk.take(queue, "a", 5)
    assert desk.report((queue, ("a", 2, 2))) == 1
    assert desk.take(queue, "b", 5).granted == 3


def test_what_was_not_used_at_all_leaves_no_trace(desk: Desk) -> None:
    queue = desk.queue(5, per=60.0, slots=5)
    desk.take(queue, "a", 5)
    desk.report((queue, ("a", 0, 0)))
    assert desk.keys() == set()


def test_an_end_frees_the_slot_and_keeps_the_units(desk: Desk) -> None:
    queue = desk.queue(5, per=60.0, slots=5)
    desk.take(queue, "a", 3)
    desk.report((queue, ("a", 3, 1)))
    assert desk.sums(queue) == (3, 1)
    desk.report((queue, ("a", 3, 0)))
    assert desk.sums(queue) == (3, 0)


def test_units_count_from_the_end_of_a_run_that_was_shorter_than_the_slack(desk: Desk) -> None:
    queue = desk.queue(1, per=1.0)
    desk.take(queue, "a")
    desk.wait(0.01)
    desk.report((queue, ("a", 1, 0)))
    assert desk.take(queue, "b") == Taken(0, pytest.approx(1.0, abs=2e-6), "rate")


def test_units_count_from_grant_and_slack_where_the_run_was_longer(desk: Desk) -> None:
    queue = desk.queue(1, per=1.0)
    desk.take(queue, "a")
    desk.wait(0.9)
    desk.report((queue, ("a", 1, 0)))
    assert desk.take(queue, "b") == Taken(0, pytest.approx(0.15, abs=2e-6), "rate")


def test_units_of_a_batch_count_each_from_its_own_end(desk: Desk) -> None:
    queue = desk.queue(3, per=1.0)
    desk.take(queue, "a", 3)
    desk.wait(0.01)
    desk.report((queue, ("a", 3, 2)))
    desk.wait(0.01)
    desk.report((queue, ("a", 3, 1)))
    assert desk.take(queue, "b", 3) == Taken(0, pytest.approx(0.99, abs=2e-6), "rate")
    desk.wait(0.99, 1)
    assert desk.take(queue, "c", 3) == Taken(1, pytest.approx(0.01, abs=2e-6), "rate")
    desk.wait(0.01)
    assert desk.take(queue, "d", 3) == Taken(1, pytest.approx(0.03, abs=2e-6), "rate")


def test_units_count_from_the_end_itself_however_late_it_is_reported(desk: Desk) -> None:
    queue = desk.queue(2, per=1.0)
    desk.take(queue, "a", 2)
    desk.wait(0.2)
    desk.report((queue, ("a", 2, 1, 190_000)))
    assert desk.take(queue, "b").wait == pytest.approx(0.81, abs=2e-6)
    desk.report((queue, ("a", 2, 0, 170_000)))
    desk.wait(0.81, 1)
    assert desk.take(queue, "c", 2) == Taken(1, pytest.approx(0.02, abs=2e-6), "rate")


def test_an_end_that_comes_along_with_the_next_request_is_as_old_as_it_says(desk: Desk) -> None:
    queue = desk.queue(1, per=1.0)
    desk.take(queue, "a")
    desk.wait(1.01)
    assert desk.take(queue, "b", 1, (("a", 1, 0, 1_000_000),)) == Taken(0, pytest.approx(1e-6), "rate")
    assert desk.take(queue, "c", 1, (("a", 1, 0, 1_000_002),)) == Taken(1)
    assert desk.sums(queue) == (1, 1)


def test_what_ended_early_stays_where_it_is_when_the_rest_is_stamped_handed_back_or_lapses(desk: Desk) -> None:
    queue = desk.queue(4, per=1.0)
    desk.take(queue, "a", 4)
    desk.report((queue, ("a", 4, 2)))
    desk.wait(0.5)
    assert desk.stamp(queue, "a") == [1]
    desk.report((queue, ("a", 3, 1)))
    assert desk.sums(queue) == (3, 1)
    desk.report((queue, ("a", 2, 0)))
    assert desk.sums(queue) == (2, 0)
    desk.wait(0.5)
    assert desk.sums(queue) == (2, 0)
    desk.wait(0.5)
    assert desk.sums(queue) == (0, 0)
    assert desk.keys() == set()


def test_units_of_a_heavy_task_count_from_its_end_and_never_in_parts(desk: Desk) -> None:
    desk.acquire(Request("a", (one := desk.key("x", 5, per=1.0),), 5))
    desk.wait(0.01)
    desk.report((one, ("a", 5, 0)))
    desk.wait(1.0)
    assert desk.sums(one) == (5, 0)
    desk.wait(0, 1)
    assert desk.sums(one) == (0, 0)


def test_saying_it_twice_changes_nothing_the_second_time(desk: Desk) -> None:
    queue = desk.queue(5, per=60.0, slots=5)
    desk.take(queue, "a", 5)
    assert [desk.report((queue, ("a", 3, 2))) for _ in range(2)] == [1, 0]
    assert desk.sums(queue) == (3, 2)
    assert [desk.report((queue, ("a", 3, 0))) for _ in range(2)] == [1, 0]
    assert desk.sums(queue) == (3, 0)


def test_a_late_report_never_raises_what_a_newer_one_said(desk: Desk) -> None:
    queue = desk.queue(5, per=60.0, slots=5)
    desk.take(queue, "a", 5)
    desk.report((queue, ("a", 2, 1)))
    assert desk.report((queue, ("a", 5, 5))) == 0
    desk.report((queue, ("a", 2, 0)))
    assert desk.report((queue, ("a", 2, 1))) == 0
    assert desk.sums(queue) == (2, 0)


def test_a_report_of_a_permit_nobody_knows_changes_nothing(desk: Desk) -> None:
    queue = desk.queue(5, per=60.0, slots=5)
    assert desk.report((queue, ("ghost", 3, 2)), (queue, ("ghost", 3, 0))) == 0
    assert desk.keys() == set()


def test_the_end_of_a_hold_that_lapsed_gives_nobody_elses_slot_back(desk: Desk) -> None:
    queue = desk.queue(slots=1)
    desk.take(queue, "zombie")
    desk.wait(TTL)
    desk.take(queue, "heir")
    assert desk.report((queue, ("zombie", 1, 0))) == 0
    assert desk.take(queue, "third") == Taken(0, None, "concurrency")


def test_many_permits_of_many_limits_go_in_one_call(desk: Desk) -> None:
    keys = [desk.key(str(number), slots=1) for number in range(5)]
    desk.acquire(*(Request(f"p{number}", (key,)) for number, key in enumerate(keys)))
    assert desk.report(*((key, (f"p{number}", 1, 0)) for number, key in enumerate(keys))) == 5
    assert desk.keys() == set()


def test_a_report_does_not_renew_a_hold(desk: Desk) -> None:
    queue = desk.queue(slots=2)
    desk.take(queue, "a", 2)
    desk.wait(TTL - 1)
    desk.report((queue, ("a", 2, 1)))
    desk.wait(1)
    assert desk.sums(queue) == (0, 0)


def test_a_run_that_ends_before_the_clock_it_began_by_is_no_measure(desk: Desk) -> None:
    key = desk.key("a", slots=2)
    desk.acquire(Request("keeps the key", (key,)), Request("a", (key,)))
    desk.wait(10)
    desk.report((key, ("a", 1, 0)))
    desk.acquire(Request("b", (key,)))
    desk.wait(-3600)
    desk.report((key, ("b", 1, 0)))
    first, second = desk.acquire(Request("c", (key,)), Request("d", (key,)))
    assert granted([first, second]) == [True, False]
    assert second.wait == 5.0
