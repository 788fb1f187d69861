"""acquire: permits for claimed tasks, each with all of its limits or with none."""

from __future__ import annotations

from dataclasses import replace

import pytest
from desk import TTL, Desk, granted

from pgq import limit
from pgq.grants import Answer, Limit, Request
from pgq.quota import Quota

STEP = 1.05  # seconds from one start to the next under one start a second, slack included


def ask(desk: Desk, one: Limit, *permits: str, priority: int = 5, denied: int = 0) -> list[Answer]:
    return desk.acquire(*(Request(permit, (one,), 1, priority, denied) for permit in permits))


def wait(answer: Answer) -> float:
    assert not answer.granted
    assert answer.wait is not None
    return answer.wait


def test_each_key_grants_what_fits_and_says_which_key_was_short(desk: Desk) -> None:
    busy, free = desk.key("busy", 1, per=1.0), desk.key("free", 1, per=1.0)
    answers = desk.acquire(Request("a", (busy,)), Request("b", (busy,)), Request("c", (free,)))
    assert granted(answers) == [True, False, True]
    assert answers[1].limit == busy


def test_a_task_gets_all_of_its_limits_or_none(desk: Desk) -> None:
    full, free = desk.key("full", slots=1), desk.key("free", 5, per=1.0, slots=5)
    ask(desk, full, "a")
    (answer,) = desk.acquire(Request("b", (free, full), 2))
    assert (answer.granted, answer.limit) == (False, full)
    assert desk.sums(free) == (0, 0)
    desk.report((full, ("a", 1, 0)))
    (answer,) = desk.acquire(Request("b", (free, full), 2))
    assert answer.granted
    assert (desk.sums(free), desk.sums(full)) == ((2, 1), (0, 1))


def test_weight_counts_as_units_of_the_rate_and_as_one_task(desk: Desk) -> None:
    key = desk.key("a", 10, per=1.0, slots=5)
    assert granted(desk.acquire(Request("a", (key,), 6), Request("b", (key,), 4))) == [True, True]
    assert desk.sums(key) == (10, 2)


def test_a_weight_above_what_a_limit_ever_allows_is_never_granted_and_stands_in_nobodys_way(desk: Desk) -> None:
    small, large = desk.key("small", 3, per=1.0), desk.key("large", 9, per=1.0)
    desk.acquire(Request("x", (large,), 7))
    answers = desk.acquire(Request("a", (large, small), 4), Request("b", (large,), 2), Request("c", (small,), 3))
    assert answers == [Answer(granted=False, wait=None, limit=small), Answer(granted=True), Answer(granted=True)]
    assert desk.look(small)[0].used == 3


def test_who_waits_lets_no_later_request_of_the_call_pass(desk: Desk) -> None:
    """So light tasks do not keep a heavy one waiting for ever."""
    key = desk.key("a", 5, per=1.0)
    answers = desk.acquire(Request("x", (key,), 3), Request("heavy", (key,), 4), Request("light", (key,), 1))
    assert granted(answers) == [True, False, False]
    assert wait(answers[2]) > wait(answers[1])


def test_the_first_requests_get_what_there_is(desk: Desk) -> None:
    key = desk.key("a", 2, per=1.0)
    order = [Request(f"p{priority}", (key,), 1, priority) for priority in (0, 1, 8, 9)]
    assert granted(desk.acquire(*order)) == [True, True, False, False]


def test_asking_again_gives_the_same_permits_once(desk: Desk) -> None:
    key, other = desk.key("a", 2, per=1.0, slots=2), desk.key("b", 2, per=1.0)
    requests = Request("a", (key, other)), Request("b", (key,)), Request("c", (key,))
    first = desk.acquire(*requests)
    assert granted(desk.acquire(*requests)) == granted(first) == [True, True, False]
    assert (desk.sums(key), desk.sums(other)) == ((2, 2), (1, 1))


def test_what_is_asked_for_again_later_counts_from_then(desk: Desk) -> None:
    key = desk.key("a", 1, per=1.0)
    ask(desk, key, "a")
    desk.wait(0.9)
    assert granted(ask(desk, key, "a")) == [True]
    desk.wait(STEP)
    assert granted(ask(desk, key, "b")) == [False]
    desk.wait(0, 1)
    assert granted(ask(desk, key, "b")) == [True]


def test_a_permit_that_only_some_limits_hold_is_completed(desk: Desk) -> None:
    held, new = desk.key("held", slots=1), desk.key("new", slots=1)
    ask(desk, held, "a")
    assert granted(desk.acquire(Request("a", (held, new)))) == [True]
    assert (desk.sums(held), desk.sums(new)) == ((0, 1), (0, 1))


def test_a_permit_that_only_some_limits_hold_is_given_back_where_it_is_denied(desk: Desk) -> None:
    held, full = desk.key("held", slots=1), desk.key("full", slots=1)
    ask(desk, held, "a")
    ask(desk, full, "b")
    assert granted(desk.acquire(Request("a", (held, full)))) == [False]
    assert desk.sums(held) == (0, 0)


# — when who is denied should come back —


def test_the_first_denied_task_is_told_the_first_free_moment_exactly(desk: Desk) -> None:
    key = desk.key("a", 2, per=1.0)
    ask(desk, key, "a")
    desk.wait(0.3)
    ask(desk, key, "b")
    (answer,) = ask(desk, key, "c")
    desk.wait(wait(answer), -1)
    assert granted(ask(desk, key, "d", denied=1)) == [False]
    desk.wait(0, 1)
    assert granted(ask(desk, key, "d", denied=1)) == [True]


def test_a_heavy_task_is_told_when_enough_has_left(desk: Desk) -> None:
    key = desk.key("a", 5, per=1.0)
    for number in range(5):
        ask(desk, key, f"x{number}")
        desk.wait(0.1)
    (answer,) = desk.acquire(Request("heavy", (key,), 3))
    desk.wait(wait(answer), -1)
    assert granted(desk.acquire(Request("heavy", (key,), 3, denied=1))) == [False]
    desk.wait(0, 1)
    assert granted(desk.acquire(Request("heavy", (key,), 3, denied=1))) == [True]


def test_the_kth_denied_task_is_told_the_kth_start(desk: Desk) -> None:
    key = desk.key("a", 1, per=1.0)
    waits = [wait(one) for one in ask(desk, key, "now", *(f"p{k}" for k in range(1, 6)))[1:]]
    assert waits == pytest.approx([k * STEP for k in range(1, 6)], abs=1e-5)


def test_tasks_denied_in_later_calls_are_told_to_come_behind_those_before(desk: Desk) -> None:
    key = desk.key("a", 1, per=1.0)
    waits = [wait(one) for one in ask(desk, key, "now", "b", "c")[1:]]
    desk.wait(0.5)
    waits += [wait(one) + 0.5 for one in ask(desk, key, "d", "e")]
    assert waits == pytest.approx([k * STEP for k in range(1, 5)], abs=1e-5)


def test_everybody_who_comes_when_told_starts_in_order_and_is_denied_once(desk: Desk) -> None:
    key = desk.key("a", 2, per=1.0)
    first = ask(desk, key, *(f"p{number:02}" for number in range(20)))
    due = [desk.now + limit.micro(answer.wait or 0) for answer in first]
    assert due == sorted(due)
    for number, moment in enumerate(due):
        desk.now = moment
        assert granted(ask(desk, key, f"p{number:02}", denied=1)) == [True]


def test_a_more_urgent_task_is_not_told_to_wait_behind_less_urgent_ones(desk: Desk) -> None:
    key = desk.key("a", 1, per=1.0)
    ask(desk, key, "now", *(f"late{number}" for number in range(50)), priority=8)
    assert wait(ask(desk, key, "urgent", priority=0)[0]) == pytest.approx(STEP, abs=1e-5)
    assert wait(ask(desk, key, "less", priority=9)[0]) == pytest.approx(51 * STEP, abs=1e-4)
    assert wait(ask(desk, key, "middle", priority=5)[0]) == pytest.approx(2 * STEP, abs=1e-5)


def test_a_task_denied_before_comes_back_in_front_of_fresh_ones(desk: Desk) -> None:
    key = desk.key("a", 1, per=1.0)
    ask(desk, key, "now", *(f"p{number}" for number in range(9)))
    returned, again, fresh = desk.acquire(
        Request("old", (key,), denied=3), Request("older", (key,), denied=1), Request("fresh", (key,))
    )
    waits = [wait(one) for one in (returned, again, fresh)]
    assert waits == pytest.approx([4 * STEP, 2 * STEP, 10 * STEP], abs=1e-4)  # the third denial: three turns further on


def test_a_fresh_task_is_told_to_come_behind_a_returned_one_also_where_nobody_else_waits(desk: Desk) -> None:
    key = desk.key("a", 1, per=1.0)
    ask(desk, key, "now")
    returned, fresh = desk.acquire(Request("old", (key,), denied=1), Request("fresh", (key,)))
    assert wait(fresh) == pytest.approx(wait(returned) + STEP, abs=1e-5)


def test_tasks_behind_busy_slots_are_told_by_how_long_tasks_take(desk: Desk) -> None:
    key = desk.key("a", slots=2)
    ask(desk, key, "a", "b")
    desk.wait(4.0)
    desk.report((key, ("a", 1, 0)))
    waits = [wait(one) for one in ask(desk, key, "c", "d", "e")[1:]]
    assert waits == pytest.approx([2.0, 4.0], abs=1e-5)


def test_how_long_a_task_takes_is_known_while_somebody_is_to_come_back(desk: Desk) -> None:
    """The only slot of a key is free for a moment at the end of every task."""
    key = desk.key("a", slots=1)
    ask(desk, key, "a", "b")
    for _ in range(20):
        desk.wait(1.0)
        assert granted(ask(desk, key, "b", denied=1)) == [False]
    desk.report((key, ("a", 1, 0)))
    assert [wait(one) for one in ask(desk, key, "b", "c", denied=1)[1:]] == [20.0]


def test_before_any_has_ended_a_task_is_thought_to_take_twice_as_long_as_it_has(desk: Desk) -> None:
    key = desk.key("a", slots=2)
    first, second = (wait(one) for one in ask(desk, key, "a", "b", "c", "d")[2:])
    assert (first, second) == (pytest.approx(0.025, abs=1e-5), pytest.approx(0.05, abs=1e-5))
    desk.wait(8)
    assert wait(ask(desk, key, "c", denied=1)[0]) == pytest.approx(4, abs=1e-5)


def test_those_who_look_again_and_again_for_a_slot_that_is_held_for_long_come_together(desk: Desk) -> None:
    """Each visit costs a claim and a write; so it is a few a second, however many wait."""
    key = desk.key("a", slots=1)
    ask(desk, key, "a")
    desk.wait(20.0)
    moments = set()
    for number in range(100):
        desk.wait(0.01)
        (answer,) = ask(desk, key, f"w{number}", denied=2 + number % 5)
        assert 20 < wait(answer) < 21 + 5.3
        moments.add(desk.now + limit.micro(wait(answer)))
    assert len(moments) <= 5 * (1 / 0.262 + 2)  # one second's worth for each count of denials


def test_a_paused_key_tells_the_end_of_its_pause_first(desk: Desk) -> None:
    key = desk.key("a", 1, per=1.0)
    desk.pause(20.0, key)
    waits = [wait(one) for one in ask(desk, key, "a", "b")]
    assert waits == pytest.approx([20.0, 20.0 + STEP], abs=1e-5)


def test_the_longest_wait_of_its_limits_is_told(desk: Desk) -> None:
    quick, slow = desk.key("quick", 1, per=1.0), desk.key("slow", 1, per=60.0)
    ask(desk, quick, "a")
    ask(desk, slow, "b")
    (answer,) = desk.acquire(Request("c", (quick, slow)))
    assert (answer.limit, wait(answer)) == (slow, pytest.approx(60.5, abs=1e-5))


def test_a_clock_set_back_forgets_turns_that_were_told(desk: Desk) -> None:
    key = desk.key("a", 1, per=1.0)
    ask(desk, key, "now", *(f"p{number}" for number in range(50)))
    desk.wait(-3600)
    assert wait(ask(desk, key, "late")[0]) == pytest.approx(STEP, abs=1e-5)


def test_a_key_with_turns_told_lives_until_the_last_of_them(desk: Desk) -> None:
    key = desk.key("a", 1, per=1.0)
    ask(desk, key, "now", *(f"p{number}" for number in range(100)))
    desk.report((key, ("now", 1, 0)))
    assert desk.plain.pttl(key.keys[2]) / 1000 > 99 * STEP
    desk.wait(101 * STEP)
    desk.sums(key)
    assert desk.keys() == set()


# — what else it must say —


def test_nothing_is_granted_by_a_server_that_was_not_told_what_runs(desk: Desk) -> None:
    key = desk.key("a", 1, per=1.0)
    desk.client.delete(key.born)
    requests = [Request("a", (key,))]
    assert limit.answers(requests, desk.say(limit.acquire(desk.prefix, TTL, requests))) is None
    assert desk.keys() == set()


def test_denials_are_counted_by_the_key_that_was_in_the_way(desk: Desk) -> None:
    full, other = desk.key("full", slots=1), desk.key("other", slots=9)
    desk.acquire(*(Request(str(number), (full, other)) for number in range(4)))
    counted = desk.client.zrange(f"{desk.prefix}:{{keys}}:denials", 0, -1, withscores=True)
    assert counted == [(b"k:full", 3.0)]
    assert 0 < desk.plain.ttl(f"{desk.prefix}:{{keys}}:denials") <= 86_400


def test_the_count_of_denials_keeps_those_denied_most(desk: Desk) -> None:
    counts = f"{desk.prefix}:{{keys}}:denials"
    desk.client.zadd(counts, {f"k:{number}": number for number in range(10_000)})
    full = desk.key("full", slots=1)
    ask(desk, full, "a", "b")
    assert desk.client.zcard(counts) == 1_000
    assert desk.client.zscore(counts, "k:9999") == 9_999
    assert desk.client.zscore(counts, "k:17") is None


def test_one_limit_in_two_forms_counts_once(desk: Desk) -> None:
    """A change of settings may come between two tasks of a batch."""
    old = desk.key("a", 2, per=1.0)
    new = replace(old, quota=Quota(3, 1.0))
    assert granted(desk.acquire(*(Request(str(n), (old if n % 2 else new,)) for n in range(6)))).count(True) == 3
    assert desk.sums(new) == (3, 3)


def test_tasks_without_a_limit_in_the_way_are_granted_by_the_hundred(desk: Desk) -> None:
    keys = [desk.key(str(number), 1, per=1.0) for number in range(250)]
    assert all(granted(desk.acquire(*(Request(str(number), (key,)) for number, key in enumerate(keys)))))
