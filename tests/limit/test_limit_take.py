"""take: permits for a queue's next claim."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from desk import TTL, Desk
from valkeys import eventually

from pgq.grants import Limit, Request, Taken, key_limit, queue_limit
from pgq.limit import acquire, hold, take
from pgq.limiter import call
from pgq.quota import KeyLimit, Quota

SLACK = 0.05  # of a window of one second


def test_it_grants_what_fits_and_says_when_the_next_unit_leaves_the_window(desk: Desk) -> None:
    queue = desk.queue(5, per=1.0)
    assert desk.take(queue, "a", 3) == Taken(3)
    assert desk.take(queue, "b", 3) == Taken(2, pytest.approx(1.0 + SLACK, abs=2e-6), "rate")
    assert desk.sums(queue) == (5, 5)


def test_it_says_how_much_more_could_have_been_had(desk: Desk) -> None:
    assert desk.take(desk.queue(9, per=1.0, slots=5), "a", 2).spare == 3
    assert desk.take(desk.queue(9, per=1.0), "b", 4).spare == 3
    assert desk.take(desk.queue(), "c", 4).spare > 10**6
    assert desk.take(desk.queue(9, per=1.0), "d", 4).spare == 0


def test_room_comes_back_to_the_microsecond(desk: Desk) -> None:
    queue = desk.queue(1, per=1.0)
    desk.take(queue, "a")
    wait = desk.take(queue, "b").wait
    assert wait == 1.0 + SLACK + 1e-6
    desk.wait(1.0 + SLACK)
    assert desk.take(queue, "b") == Taken(0, 1e-6, "rate")
    desk.wait(0, 1)
    assert desk.take(queue, "b") == Taken(1)


def test_a_window_slides_and_is_no_bucket_that_starts_anew(desk: Desk) -> None:
    queue = desk.queue(2, per=1.0)
    desk.take(queue, "a")
    desk.wait(0.6)
    desk.take(queue, "b")
    desk.wait(0.5)
    assert desk.take(queue, "c", 2).granted == 1
    desk.wait(0.5)
    assert desk.take(queue, "d", 2) == Taken(0, pytest.approx(0.05, abs=2e-6), "rate")


def test_slots_are_taken_until_they_are_given_back(desk: Desk) -> None:
    queue = desk.queue(slots=3)
    assert desk.take(queue, "a", 2) == Taken(2)
    assert desk.take(queue, "b", 2) == Taken(1, None, "concurrency")
    desk.report((queue, ("a", 2, 1)))
    assert desk.take(queue, "c", 2) == Taken(1, None, "concurrency")


def test_the_tighter_of_rate_and_slots_decides(desk: Desk) -> None:
    queue = desk.queue(10, per=1.0, slots=2)
    assert desk.take(queue, "a", 5) == Taken(2, None, "concurrency")
    desk.report((queue, ("a", 2, 0)))
    desk.wait(0.001)
    tight = replace(queue, quota=Quota(3, 1.0, 2))
    assert desk.take(tight, "b", 5) == Taken(1, pytest.approx(1.0 - 0.001, abs=2e-6), "rate")


def test_a_queue_without_a_limit_is_granted_everything(desk: Desk) -> None:
    assert desk.take(desk.queue(), "a", 1_000_000) == Taken(1_000_000)


def test_asking_again_under_one_name_gives_the_same_permits_once(desk: Desk) -> None:
    queue = desk.queue(10, per=1.0, slots=10)
    assert desk.take(queue, "a", 4) == desk.take(queue, "a", 4) == Taken(4)
    assert desk.sums(queue) == (4, 4)


def test_what_is_asked_for_again_later_counts_from_then(desk: Desk) -> None:
    """Its first reply was lost: who gets the second one may start as long after that."""
    queue = desk.queue(1, per=1.0)
    desk.take(queue, "a")
    desk.wait(0.9)
    assert desk.take(queue, "a") == Taken(1)
    desk.wait(1.0 + SLACK)
    assert desk.take(queue, "b").granted == 0
    desk.wait(0, 1)
    assert desk.take(queue, "b").granted == 1


def test_what_left_the_window_before_it_was_asked_for_again_needs_room_anew(desk: Desk) -> None:
    queue = desk.queue(1, per=1.0, slots=5)
    desk.take(queue, "a")
    desk.wait(2)
    desk.take(queue, "b")
    assert desk.take(queue, "a").short == "rate"
    assert desk.sums(queue) == (1, 1)


def test_reports_that_come_along_make_room_first(desk: Desk) -> None:
    queue = desk.queue(2, per=1.0, slots=2)
    desk.take(queue, "a", 2)
    assert desk.take(queue, "b", 2, (("a", 0, 0),)) == Taken(2)


def test_reports_alone_ask_for_nothing(desk: Desk) -> None:
    queue = desk.queue(2, per=1.0, slots=2)
    desk.take(queue, "a", 2)
    assert desk.take(queue, "", 0, (("a", 1, 1),)) == Taken(0)
    assert desk.sums(queue) == (1, 1)


def test_a_hold_that_nobody_renews_lapses_and_its_units_stay_their_time(desk: Desk) -> None:
    queue = desk.queue(2, per=60.0, slots=1)
    desk.take(queue, "a")
    desk.wait(TTL, -1)
    assert desk.take(queue, "b") == Taken(0, None, "concurrency")
    desk.wait(0, 1)
    assert desk.take(queue, "b") == Taken(1)
    assert desk.sums(queue) == (2, 1)


@pytest.mark.parametrize(
    ("before", "after", "granted"),
    [
        (Quota(2, 1.0), Quota(5, 1.0), 3),
        (Quota(5, 1.0), Quota(2, 1.0), 0),
        (Quota(2, 9.0), Quota(2, 0.2), 2),
        (Quota(slots=2), Quota(slots=3), 1),
        (Quota(slots=3), Quota(slots=1), 0),
        (Quota(2, 1.0), Quota(slots=9), 7),
        (Quota(slots=2), Quota(9, 1.0), 9),
    ],
    ids=str,
)
def test_changed_settings_count_from_the_next_call(desk: Desk, before: Quota, after: Quota, granted: int) -> None:
    queue = replace(desk.queue(), quota=before)
    desk.take(queue, "a", 2)
    desk.wait(0.5)
    assert desk.take(replace(queue, quota=after), "b", 9).granted == granted


def test_the_wait_is_right_where_a_limit_was_lowered_below_what_is_used(desk: Desk) -> None:
    queue = desk.queue(200, per=1.0)
    for number in range(150):
        desk.take(queue, str(number))
        desk.wait(0.001)
    low = replace(queue, quota=Quota(10, 1.0))
    wait = desk.take(low, "x").wait
    assert wait is not None
    desk.wait(wait, -1)
    assert desk.take(low, "x").granted == 0
    desk.wait(0, 1)
    assert desk.take(low, "x").granted == 1


def test_a_clock_set_back_by_an_hour_neither_gives_more_nor_blocks_for_more_than_a_window(desk: Desk) -> None:
    queue = desk.queue(3, per=10.0, slots=3)
    desk.take(queue, "a", 3)
    desk.report((queue, ("a", 3, 0)))
    desk.wait(4.0)
    desk.sums(queue)
    desk.wait(-3600)
    assert desk.take(queue, "b") == Taken(0, pytest.approx(6.0, abs=2e-6), "rate")
    desk.wait(6.0, 1)
    assert desk.take(queue, "b", 3) == Taken(3)


def test_a_hold_is_as_long_as_ever_after_the_clock_was_set_back(desk: Desk) -> None:
    queue = desk.queue(slots=1)
    desk.take(queue, "a")
    desk.wait(-3600)
    desk.take(queue, "b")
    desk.wait(TTL, -1)
    assert desk.take(queue, "b").granted == 0
    desk.wait(0, 1)
    assert desk.take(queue, "b").granted == 1


def test_a_clock_that_jumps_ahead_leaves_nothing_stuck(desk: Desk) -> None:
    queue = desk.queue(3, per=10.0, slots=3)
    desk.take(queue, "a", 3)
    desk.wait(1e9)
    assert desk.take(queue, "b", 3) == Taken(3)


def test_an_idle_queue_takes_no_memory(desk: Desk) -> None:
    queue = desk.queue(3, per=1.0, slots=3)
    desk.take(queue, "a", 3)
    assert desk.keys() == set(queue.keys)
    desk.wait(TTL)
    assert desk.sums(queue) == (0, 0)
    assert desk.keys() == set()


def test_what_nobody_asks_for_again_goes_by_itself(desk: Desk) -> None:
    queue = desk.queue(3, per=100.0, slots=3)
    desk.take(queue, "a", 3)
    lives = [desk.plain.pttl(key) / 1000 for key in queue.keys]
    assert all(100 + TTL + 1 >= life > 100 + TTL for life in lives)


def test_the_memory_of_an_idle_limit_is_back_at_zero_without_anybody_looking(client: Any, prefix: str) -> None:
    queue = queue_limit(prefix, "q", Quota(3, 0.1, 3))
    key = key_limit(prefix, "k:a", KeyLimit("k", Quota(1, 0.1, 1)))
    call(client, hold(0.1, [], queue.place, complete=True, units=True))
    call(client, hold(0.1, [], key.place, complete=True, units=True))
    call(client, take(queue, 0.1, "a", 3))
    call(client, acquire(prefix, 0.1, [Request(permit, (key,)) for permit in "ab"]))
    assert client.exists(*queue.keys, *key.keys) == 6
    eventually(lambda: client.exists(*queue.keys, *key.keys) == 0, seconds=5)


def test_a_caller_with_a_shorter_lease_does_not_cut_the_holds_of_another_short(desk: Desk) -> None:
    queue = desk.queue(slots=2)
    desk.hold((queue, ("patient", 1, 1)), ttl=300.0)
    desk.take(queue, "hasty")
    assert all(desk.plain.pttl(key) > 299_000 for key in queue.keys[1:])


@pytest.mark.parametrize("lost", [0, 1, 2], ids=["window", "running", "book"])
def test_a_limit_that_lost_one_of_its_keys_does_not_block_for_ever(desk: Desk, lost: int) -> None:
    queue = desk.queue(1, per=1.0, slots=1)
    desk.take(queue, "a")
    desk.client.delete(queue.keys[lost])
    desk.wait(TTL + 2)
    assert desk.take(queue, "b") == Taken(1)


def test_nothing_is_granted_by_a_server_that_was_not_told_what_runs(desk: Desk) -> None:
    queue: Limit = desk.queue(5, per=1.0)
    desk.client.delete(queue.born)
    found = desk.take(queue, "a", 5)
    assert (found.granted, found.short, found.forgotten) == (0, "forgotten", True)
    assert desk.keys() == set()
