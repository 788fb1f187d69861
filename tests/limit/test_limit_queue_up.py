"""queue_up: how far ahead tasks of one limit have been sent."""

from __future__ import annotations

import pytest
from desk import Desk, granted

from pgq.grants import Request

STEP = 1.05  # seconds from one start to the next under one start a second, slack included


def test_who_is_denied_next_is_told_to_come_after_those_sent_away(desk: Desk) -> None:
    key = desk.key("a", 1, per=1.0)
    desk.acquire(Request("a", (key,)))
    assert desk.queue_up(key, (5, 100.0)) == 100.0
    less, urgent = desk.acquire(Request("b", (key,), priority=8)), desk.acquire(Request("c", (key,), priority=0))
    assert less[0].wait == pytest.approx(100 + STEP, abs=1e-5)
    assert urgent[0].wait == pytest.approx(STEP, abs=1e-5)


def test_it_brings_nobody_forward_and_says_who_is_last(desk: Desk) -> None:
    key = desk.key("a", 1, per=1.0)
    desk.queue_up(key, (5, 100.0), (9, 300.0))
    assert desk.queue_up(key, (5, 50.0)) == 300.0
    desk.wait(60.0)
    assert desk.queue_up(key) == 240.0


def test_it_reserves_nothing(desk: Desk) -> None:
    key = desk.key("a", 1, per=1.0)
    desk.queue_up(key, (5, 100.0))
    assert granted(desk.acquire(Request("a", (key,)))) == [True]


def test_what_was_sent_away_is_known_until_it_is_due_and_then_takes_no_memory(desk: Desk) -> None:
    key = desk.key("a", 1, per=1.0)
    desk.queue_up(key, (5, 1000.0))
    assert 1000 < desk.plain.pttl(key.keys[2]) / 1000 <= 1001
    desk.wait(999.0)
    assert desk.queue_up(key) == 1.0
    desk.wait(1.0)
    assert desk.queue_up(key) == 0.0
    assert desk.keys() == set()
