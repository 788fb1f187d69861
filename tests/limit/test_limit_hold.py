"""hold: what is held, by force: a renewal, or what Postgres told a server that forgot everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from desk import TTL, Desk, granted

from pgq import limit
from pgq.grants import Request, Taken
from pgq.limiter import call
from pgq.quota import Quota


def test_a_renewed_hold_lasts_a_whole_lease_from_then(desk: Desk) -> None:
    queue = desk.queue(slots=2)
    desk.take(queue, "a", 2)
    desk.wait(TTL - 1)
    assert desk.hold((queue, ("a", 2, 2))) == 0
    desk.wait(TTL, -1)
    assert desk.sums(queue) == (0, 2)
    desk.wait(0, 1)
    assert desk.sums(queue) == (0, 0)


def test_a_renewal_does_not_move_units(desk: Desk) -> None:
    queue = desk.queue(1, per=1.0)
    desk.take(queue, "a")
    desk.wait(0.5)
    desk.hold((queue, ("a", 1, 1)))
    assert desk.take(queue, "b").wait == pytest.approx(0.55, abs=2e-6)
    desk.wait(1)
    desk.hold((queue, ("a", 1, 1)))
    assert desk.sums(queue) == (0, 1)


def test_a_hold_that_lapsed_is_held_again_whatever_the_limit_says(desk: Desk) -> None:
    queue = desk.queue(slots=1)
    desk.take(queue, "stalled")
    desk.wait(TTL)
    desk.take(queue, "heir")
    assert desk.hold((queue, ("stalled", 1, 1))) == 1
    assert desk.sums(queue) == (0, 2)
    desk.report((queue, ("heir", 1, 0)))
    assert desk.take(queue, "third") == Taken(0, None, "concurrency")


def test_what_postgres_says_runs_counts_before_anything_is_granted(desk: Desk) -> None:
    queue = desk.queue(5, per=60.0, slots=3)
    desk.client.delete(queue.born)
    assert desk.take(queue, "x").forgotten
    assert desk.hold((queue, ("a", 2, 2)), complete=False, units=True) == 1
    assert desk.take(queue, "x").forgotten
    desk.hold((queue, ("b", 1, 0)), complete=True, units=True)
    assert desk.sums(queue) == (3, 2)
    assert desk.take(queue, "x", 5) == Taken(1, None, "concurrency")


def test_units_that_the_server_knows_already_are_left_alone(desk: Desk) -> None:
    queue = desk.queue(5, per=1.0)
    desk.take(queue, "a", 4)
    desk.wait(0.5)
    desk.hold((queue, ("a", 2, 2)), units=True)
    assert desk.sums(queue) == (4, 2)
    desk.wait(0.55, 1)
    assert desk.sums(queue) == (0, 2)


def test_saying_it_twice_changes_nothing(desk: Desk) -> None:
    queue = desk.queue(5, per=60.0, slots=3)
    for _ in range(2):
        desk.hold((queue, ("a", 2, 2)), (queue, ("b", 1, 1)), units=True)
        assert desk.sums(queue) == (3, 3)


def test_what_was_told_is_all_only_while_the_server_has_forgotten_nothing_since_it_began(
    desk: Desk, forget: Callable[[str], None]
) -> None:
    """In between others may have been granted permits, which the one who tells did not know of."""
    queue = desk.queue(slots=3)
    desk.client.delete(queue.born)
    first = call(desk.client, limit.begin(queue.place))
    assert call(desk.client, limit.begin(queue.place)) == first
    forget(desk.prefix)
    assert desk.say(limit.hold(TTL, [(queue, ("a", 1, 1))], queue.place, complete=first, units=True)) == -1
    assert desk.take(queue, "x").forgotten
    second = call(desk.client, limit.begin(queue.place))
    assert second != first
    assert desk.say(limit.hold(TTL, [(queue, ("a", 1, 1))], queue.place, complete=first, units=True)) == -1
    assert desk.say(limit.hold(TTL, [(queue, ("a", 1, 1))], queue.place, complete=second, units=True)) == 0
    assert desk.take(queue, "x", 5).granted == 2


def test_a_server_may_be_told_that_nothing_runs(desk: Desk) -> None:
    queue = desk.queue(5, per=60.0)
    desk.client.delete(queue.born)
    desk.say(limit.hold(TTL, [], queue.place, complete=True, units=True))
    assert desk.take(queue, "a").granted == 1


def test_holds_of_several_keys_go_in_one_call(desk: Desk) -> None:
    keys = [desk.key(str(number), slots=1) for number in range(4)]
    assert desk.hold(*((key, (f"p{number}", 1, 1)) for number, key in enumerate(keys))) == 4
    answers = desk.acquire(*(Request(f"q{number}", (key,)) for number, key in enumerate(keys)))
    assert granted(answers) == [False] * 4


def test_a_renewal_does_not_make_a_task_look_shorter_than_it_was(desk: Desk) -> None:
    key = desk.key("a", slots=1)
    desk.acquire(Request("a", (key,)))
    desk.wait(20)
    desk.hold((key, ("a", 1, 1)))
    desk.wait(4)
    desk.acquire(Request("b", (key,), denied=1))
    desk.report((key, ("a", 1, 0)))
    assert desk.acquire(Request("b", (key,)), Request("c", (key,)))[1].wait == pytest.approx(24, abs=1e-5)


def test_what_runs_counts_although_its_limit_has_no_rate_any_more(desk: Desk) -> None:
    queue = replace(desk.queue(), quota=Quota(slots=2))
    desk.hold((queue, ("a", 7, 1)), units=True)
    assert desk.sums(queue) == (0, 1)
