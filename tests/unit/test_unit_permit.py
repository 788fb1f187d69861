"""Permits for code outside workers: what is asked, said and waited for, reply by reply, under a clock of the test."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from redis.exceptions import ConnectionError as Away

from pgq.config import Config
from pgq.entry import Entry, Terms, throttle
from pgq.errors import ConfigError, InvalidOption, LimiterDown, LimitExceeded
from pgq.queue import Rate
from pgq.quota import KeyLimit
from pgq.renewal import Book, Holding, Read, Step, Talk
from pgq.script import Verb

RATE = KeyLimit.declare("smtp", Rate(10, per=60), None)
SLOTS = KeyLimit.declare("pool", None, 5)
GRANTED = [1, 0, 0]
SECOND = 1_000_000


class Clock:
    """A monotonic clock that stands still."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(clock: Clock) -> Book:
    """Return a book that has read the settings of the test's kinds just now: as declared."""
    book = Book("pgq", clock)
    for kind in (RATE, SLOTS):
        said(book.current(kind, "smtp:a"), None)
    return book


def entry(book: Book, clock: Clock, kind: KeyLimit = RATE, **how: Any) -> Entry:
    return Entry(Terms.of(kind, "a", **how), book, clock)


def said(talk: Talk[Any], *replies: Any) -> tuple[list[Step], Any]:
    """Hold a talk to its end; returns what it yielded and what it came to. An exception is a failed step."""
    steps, left = [], iter(replies)
    try:
        step = next(talk)
        while True:
            steps.append(step)
            step = after(talk, step, left)
    except StopIteration as end:
        assert next(left, None) is None
        return steps, end.value


def after(talk: Talk[Any], step: Step, left: Iterator[Any]) -> Step:
    """Go on with the next reply; a wait needs none."""
    reply = None if isinstance(step, float) else next(left)
    return talk.throw(reply) if isinstance(reply, Exception) else talk.send(reply)


def names(steps: list[Step]) -> list[str]:
    return [step.name if isinstance(step, Verb) else step.words[0] for step in steps if not isinstance(step, float)]


def denied(seconds: float) -> list[int]:
    return [0, int(seconds * SECOND), 1]


def holding(clock: Clock, name: str = "web/x", hold: float = 60.0, kind: KeyLimit = RATE) -> Holding:
    return Holding(name, kind, "smtp:a", 3, hold, clock.now, clock.now)


# — asking —


def test_a_free_limit_takes_one_question(book: Book, clock: Clock) -> None:
    one = entry(book, clock, weight=2)
    steps, entered = said(one.once(), GRANTED)
    assert (names(steps), entered) == (["acquire"], True)
    assert one.holding is not None
    assert book.held == {one.holding.name: one.holding}
    assert one.holding.name.startswith("web/")


def test_asking_says_that_it_was_denied_before_so_that_it_pushes_no_task_back(book: Book, clock: Clock) -> None:
    (verb,), _ = said(entry(book, clock, weight=2).once(), GRANTED)
    *_, units, _, denials, _, _ = verb.args
    assert (units, denials) == (2, 1)


def test_a_rate_is_waited_for_as_long_as_the_limiter_says(book: Book, clock: Clock) -> None:
    one = entry(book, clock)
    assert said(one.once(), denied(2.5))[1] is False
    assert next(one.wait()) == 2.5


def test_a_long_wait_for_a_rate_is_cut_into_pieces_for_it_may_be_raised(book: Book, clock: Clock) -> None:
    one = entry(book, clock)
    said(one.once(), denied(3000))
    assert next(one.wait()) == 5.0


def test_a_rate_that_comes_after_the_timeout_is_not_waited_for(book: Book, clock: Clock) -> None:
    with pytest.raises(LimitExceeded) as caught:
        said(entry(book, clock, timeout=2).once(), denied(2.1))
    assert (caught.value.retry_after, caught.value.key) == (2.1, "smtp:a")


def test_a_slot_is_waited_for_until_the_timeout_whatever_the_guess(book: Book, clock: Clock) -> None:
    one = entry(book, clock, SLOTS, timeout=0.3)
    said(one.once(), denied(100))
    waits = one.wait()
    assert next(waits) == 0.25
    clock.now += 0.25
    assert names([next_step(waits)]) == ["acquire"]
    assert waits.send(denied(100)) == pytest.approx(0.05)
    clock.now += 0.06
    assert names([next_step(waits)]) == ["acquire"]
    with pytest.raises(LimitExceeded) as caught:
        waits.send(denied(100))
    assert caught.value.retry_after == 100


def next_step(talk: Talk[Any]) -> Step:
    return talk.send(None)


def test_guesses_are_never_asked_for_in_a_hurry(book: Book, clock: Clock) -> None:
    one = entry(book, clock, SLOTS)
    pauses = []
    for _ in range(8):
        said(one.once(), denied(0.0001))
        pauses.append(round(next(one.wait()), 6))
    assert pauses == [0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.25, 0.25]


def test_a_timeout_of_zero_asks_once(book: Book, clock: Clock) -> None:
    with pytest.raises(LimitExceeded):
        said(entry(book, clock, SLOTS, timeout=0).once(), denied(0.1))


def test_a_weight_above_the_rate_is_refused(book: Book, clock: Clock) -> None:
    with pytest.raises(InvalidOption, match="weight must be at most 10, the rate of limit 'smtp', got 11"):
        said(entry(book, clock, weight=11).once(), [-1, 0, 1])


# — permits that come late —


def test_a_permit_that_was_long_on_its_way_is_made_to_count_from_now(book: Book, clock: Clock) -> None:
    one = entry(book, clock)
    talk = one.once()
    assert names([next(talk)]) == ["acquire"]
    clock.now += RATE.quota.slack + 0.01
    stamp = talk.send(GRANTED)
    assert names([stamp]) == ["stamp"]
    with pytest.raises(StopIteration):
        talk.send([1])
    assert one.holding is not None
    assert one.holding.since == clock.now


def test_a_permit_that_is_too_late_again_and_again_is_taken_in_the_end(book: Book, clock: Clock) -> None:
    talk = entry(book, clock).once()
    stamps = 0
    assert names([next(talk)]) == ["acquire"]
    with suppress(StopIteration):
        while stamps < 9:
            clock.now += 10
            step = talk.send(GRANTED if stamps == 0 else [1])
            stamps += names([step]) == ["stamp"]
    assert stamps == 3


def test_a_permit_that_lapsed_on_its_way_is_asked_for_under_a_new_name(book: Book, clock: Clock) -> None:
    talk = entry(book, clock).once()
    first = next(talk)
    clock.now += 0.9
    assert names([talk.send(GRANTED)]) == ["stamp"]
    second = talk.send([0])
    assert names([first, second]) == ["acquire", "acquire"]
    assert len({word for verb in (first, second) for word in verb.args if str(word).startswith("web/")}) == 2


def test_after_a_lost_reply_a_permit_counts_as_given_when_it_was_first_asked_for(book: Book, clock: Clock) -> None:
    one = entry(book, clock, on_down="wait")
    assert said(one.once(), Away())[1] is False
    clock.now += 0.6
    steps, entered = said(one.once(), GRANTED, [1])
    assert (names(steps), entered) == (["acquire", "stamp"], True)


def test_slots_need_no_such_care(book: Book, clock: Clock) -> None:
    talk = entry(book, clock, SLOTS).once()
    next(talk)
    clock.now += 10
    with pytest.raises(StopIteration):
        talk.send(GRANTED)


# — the limiter is away —


@pytest.mark.parametrize("how", ["raise", "wait"])
def test_what_may_have_been_granted_is_given_back_unused(book: Book, clock: Clock, how: str) -> None:
    one = entry(book, clock, on_down=how, timeout=0)
    with pytest.raises(LimiterDown, match="smtp:a"):
        said(one.once(), Away())
    assert book.busy
    steps, _ = said(book.beat(), 1, b"born")
    assert names(steps) == ["report", "GET"]
    assert steps[0].args[-4:-2] == (0, 0)
    assert not book.busy


def test_who_runs_without_a_permit_used_what_may_have_been_granted(book: Book, clock: Clock) -> None:
    one = entry(book, clock, on_down="run", weight=4)
    assert said(one.once(), Away())[1] is True
    assert one.holding is None
    steps, _ = said(book.beat(), 1, b"born")
    assert steps[0].args[-4:] == (4, 0, 0, "")


def test_who_waits_for_the_limiter_looks_four_times_a_second(book: Book, clock: Clock) -> None:
    one = entry(book, clock, on_down="wait", timeout=0.4)
    said(one.once(), Away())
    waits = one.wait()
    assert next(waits) == 0.25
    clock.now += 0.25
    next_step(waits)
    assert waits.throw(Away()) == pytest.approx(0.15)
    clock.now += 0.15
    next_step(waits)
    with pytest.raises(LimiterDown):
        waits.throw(Away())


def test_what_was_asked_for_is_given_back_when_the_one_who_asked_is_gone(book: Book, clock: Clock) -> None:
    one = entry(book, clock)
    next(one.once())  # interrupted before the reply
    steps, _ = said(one.undo(), 1)
    assert names(steps) == ["report"]
    assert steps[0].args[-3:-1] == (0, 0)


def test_who_was_denied_has_nothing_to_give_back(book: Book, clock: Clock) -> None:
    one = entry(book, clock)
    said(one.once(), denied(1))
    assert said(one.undo()) == ([], None)


def test_a_throttle_that_nobody_heard_is_an_error_unless_running_was_chosen(book: Book) -> None:
    with pytest.raises(LimiterDown, match="not throttled"):
        said(throttle(Terms.of(RATE, "a"), book, 3.0), Away())
    steps, _ = said(throttle(Terms.of(RATE, "a", on_down="run"), book, 3.0), Away())
    assert names(steps) == ["pause"]


# — a server without memory —


def test_a_server_without_memory_is_told_what_is_held_and_workers_get_a_second(book: Book, clock: Clock) -> None:
    book.add(holding(clock))
    one = entry(book, clock)
    steps, entered = said(one.once(), b"forgotten", b"memory", 1)
    assert (names(steps), entered) == (["acquire", "begin", "hold"], False)
    assert steps[2].args[2] == ""  # not complete
    clock.now += 0.99
    steps, _ = said(one.once(), b"forgotten", b"memory", 1)
    assert names(steps) == ["acquire", "begin", "hold"]
    clock.now += 0.02
    steps, entered = said(one.once(), None, b"forgotten", b"memory", 1, 0, GRANTED)
    assert (names(steps), entered) == (["HGET", "acquire", "begin", "hold", "hold", "acquire"], True)
    assert [step.args[2] for step in steps[3:5]] == ["", "memory"]


def test_the_second_begins_anew_when_the_server_forgets_again(book: Book, clock: Clock) -> None:
    said(entry(book, clock).once(), b"forgotten", b"memory")
    clock.now += 5
    steps, entered = said(entry(book, clock).once(), None, b"forgotten", b"another")
    assert (names(steps), entered) == (["HGET", "acquire", "begin"], False)
    clock.now += 0.5
    steps, _ = said(entry(book, clock).once(), b"forgotten", b"another")
    clock.now += 0.6
    steps, entered = said(entry(book, clock).once(), None, b"forgotten", b"another", -1, b"forgotten", b"third")
    assert (names(steps)[2:], entered) == (["begin", "hold", "acquire", "begin"], False)


def test_who_may_not_wait_is_told_what_is_left_of_that_second(book: Book, clock: Clock) -> None:
    said(entry(book, clock).once(), b"forgotten", b"memory")
    clock.now += 0.4
    with pytest.raises(LimitExceeded) as caught:
        said(entry(book, clock, timeout=0).once(), b"forgotten", b"memory")
    assert caught.value.retry_after == pytest.approx(0.6)


# — what is held —


def test_a_hold_is_renewed_after_a_third_of_it_and_not_before(book: Book, clock: Clock) -> None:
    said(book.beat(), b"born")
    book.add(holding(clock, hold=60, kind=SLOTS))
    clock.now += 19.9
    assert names(said(book.beat(), b"born")[0]) == ["GET"]
    clock.now += 0.2
    steps, _ = said(book.beat(), b"born", None, 0)
    assert names(steps) == ["GET", "HGET", "hold"]
    assert steps[2].args[-4:] == (1, "web/x", "", 1)  # the window is left alone
    assert names(said(book.beat(), b"born")[0]) == ["GET"]


def test_holds_of_different_length_are_said_apart(book: Book, clock: Clock) -> None:
    book.add(holding(clock, "web/x", hold=60))
    book.add(holding(clock, "web/y", hold=3))
    steps, _ = said(book.beat(), b"born", 1, 1)
    assert [step.args[1] for step in steps[1:]] == [60 * SECOND, 3 * SECOND]


def test_a_new_memory_is_told_everything_and_units_only_as_long_as_they_count(book: Book, clock: Clock) -> None:
    book.add(holding(clock, "web/old"))
    clock.now += RATE.quota.per + 1
    book.add(holding(clock, "web/new"))
    steps, _ = said(book.beat(), b"another", None, 2)
    assert steps[-1].args[-8:] == (1, "web/old", 0, 1, 1, "web/new", 3, 1)


def test_a_new_memory_is_told_again_when_it_did_not_hear(book: Book, clock: Clock) -> None:
    said(book.beat(), b"born")
    book.add(holding(clock))
    said(book.beat(), b"another", Away())
    assert names(said(book.beat(), b"another", 1)[0]) == ["GET", "hold"]


def test_what_is_given_back_while_it_is_renewed_is_given_back_again(book: Book, clock: Clock) -> None:
    held = holding(clock)
    book.add(held)
    beat = book.beat()
    next(beat)
    assert names([beat.send(b"born")]) == ["hold"]
    said(book.leave(held), 1)
    assert not book.busy
    with pytest.raises(StopIteration):
        beat.send(0)
    steps, _ = said(book.beat(), 1, b"born")
    assert steps[0].args[-5:] == ("web/x", 3, 0, 0, "")
    assert not book.busy


def test_who_went_in_is_told_once_and_again_when_it_comes_out(book: Book, clock: Clock) -> None:
    one = entry(book, clock, weight=3)
    said(one.once(), GRANTED)
    said(book.beat(), b"born", 0)  # it has a permit, and has not gone in
    one.begin()
    clock.now += 0.2
    steps, _ = said(book.beat(), b"born", 1)
    assert names(steps) == ["GET", "report"]
    assert steps[1].args[-4:] == (3, 1, "", 200_000)
    assert names(said(book.beat(), b"born")[0]) == ["GET"]
    assert one.holding is not None
    clock.now += 0.1
    steps, _ = said(book.leave(one.holding), 1)
    assert steps[-1].args[-4:] == (3, 0, 0, 300_000)


def test_what_cannot_be_given_back_is_tried_again_until_it_has_lapsed(
    book: Book, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    held = holding(clock, hold=1)
    book.add(held)
    said(book.leave(held), Away("gone"))
    clock.now += 0.9
    assert names(said(book.beat(), Away("gone"))[0]) == ["report"]
    assert book.busy
    clock.now += 0.2
    assert names(said(book.beat(), b"born")[0]) == ["GET"]
    assert not book.busy
    assert [record.message.rpartition(": ")[2] for record in caplog.records] == ["gone"]


# — settings —


def test_settings_are_read_once_a_second(clock: Clock) -> None:
    book = Book("pgq:x", clock)
    steps, limit = said(book.current(RATE, "smtp:a"), None)
    assert steps == [Read(("HGET", "pgq:x:{keys}:settings", "smtp"))]
    assert limit.quota == RATE.quota
    clock.now += 0.99
    assert said(book.current(RATE, "smtp:b"))[0] == []
    clock.now += 0.01
    assert names(said(book.current(RATE, "smtp:b"), None)[0]) == ["HGET"]


def test_settings_that_are_there_win_over_the_declaration(clock: Clock) -> None:
    text = json.dumps({"rate_max": 3, "rate_per": 1.5, "concurrency": 7}).encode()
    limit = said(Book("pgq", clock).current(RATE, "smtp:a"), text)[1]
    assert (limit.quota.max, limit.quota.per, limit.quota.slots) == (3, 1.5, 7)


def test_while_one_reads_settings_the_others_go_on_unless_none_are_known(clock: Clock) -> None:
    book = Book("pgq", clock)
    next(book.current(RATE, "smtp:a"))
    assert names(said(book.current(RATE, "smtp:a"), None)[0]) == ["HGET"]
    clock.now += 2
    next(book.current(RATE, "smtp:a"))
    assert said(book.current(RATE, "smtp:a"))[0] == []


# — what is refused —


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"key": ""}, "limit_key must look like 'kind:key'"),
        ({"key": None}, "key of limit 'smtp' must be text, got None"),
        ({"key": 7}, "key of limit 'smtp' must be text, got 7"),
        ({"key": "a\n"}, "limit_key must be printable text"),
        ({"weight": 0}, "weight must be at least 1, got 0"),
        ({"weight": 1.5}, "weight must be a whole number, got 1.5"),
        ({"timeout": -1}, "timeout must be 0 to 1e\\+09 seconds, got -1"),
        ({"timeout": math.nan}, "timeout must be"),
        ({"timeout": "2"}, "timeout must be"),
        ({"timeout": True}, "timeout must be"),
        ({"hold": 0.9}, "hold must be 1 to 1e\\+09 seconds, got 0.9"),
        ({"hold": math.inf}, "hold must be"),
        ({"on_down": "ask"}, "on_down must be raise, wait or run, got 'ask'"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidOption, match=why):
        Terms.of(RATE, **({"key": "a"} | wrong))


def test_limit_exceeded_says_when_to_come_back_and_survives_a_pickle() -> None:
    error = copy.copy(LimitExceeded(1.5, "smtp:a"))  # by the same protocol
    assert (error.retry_after, error.key) == (1.5, "smtp:a")
    assert str(error) == "no permit of limit 'smtp:a': try again in 1.5 s"


@pytest.mark.parametrize("wrong", ["", "x", "pg", "PGQ", "pgq{a}", "pgq a", "pgq\n"])
def test_a_limit_prefix_begins_with_pgq_and_braces_nothing(wrong: str) -> None:
    with pytest.raises(ConfigError, match="limit_prefix must be"):
        Config(limit_prefix=wrong)
    assert Config.load({"PGQ_LIMIT_PREFIX": "pgq:team-1._"}).limit_prefix == "pgq:team-1._"
