"""How many processes: what is wanted, and when it is done. Tables of needs, slots and times."""

from __future__ import annotations

from math import inf

import pytest

from pgq.errors import InvalidOption
from pgq.scale import CALM, PACE, QUIET, WAY_BACK, Need, Scale, Span, decide, wanted
from pgq.supervisor import LOOK


@pytest.mark.parametrize(("text", "least", "most"), [("1", 1, 1), ("4", 4, 4), ("2..16", 2, 16), (" 1..1 ", 1, 1)])
def test_a_span_is_a_number_or_a_range(text: str, least: int, most: int) -> None:
    assert Span.parse(text) == Span(least, most)


@pytest.mark.parametrize("text", ["4", "2..16"])
def test_a_span_is_written_as_it_is_read(text: str) -> None:
    assert str(Span.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "processes must be a number or a span such as 2..16, got ''"),
        ("x", "processes must be a number or a span such as 2..16, got 'x'"),
        ("2..", "processes must be a number or a span such as 2..16, got '2..'"),
        ("2...4", "processes must be a number or a span such as 2..16, got '2...4'"),
        ("-1", "processes must be a number or a span such as 2..16, got '-1'"),
        ("0", "processes must be at least 1, got 0"),
        ("0..4", "processes must be at least 1, got 0"),
        ("5..2", "processes must grow: 5..2 ends below its beginning"),
        ("1..65", "processes must be at most 64, got 65"),
    ],
)
def test_what_is_no_span_is_refused_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        Span.parse(text)
    assert str(refused.value) == sentence


def need(needed: float, slots: float) -> Need:
    """Return the need of a queue where nothing waits for long."""
    return Need(slots=slots, busy=0, backlog=needed, wait=0, needed=needed)


@pytest.mark.parametrize(
    ("busy", "backlog", "wait", "needed", "most", "now"),
    [
        (0, 0, 0, 0, inf, 0),
        (20, 20_000, 0.2, 15, inf, 15),  # depth alone is no need
        (20, 20_000, 1.5, 15, inf, 20_020),  # depth that waits is
        (20, 5, 1.5, 15, inf, 25),
        (20, 0, 0, 18, inf, 18),
        (5, 1_000, 60, 5, 5, 5),  # its limit lets it use no more
        (2, 30, 600, 40, inf, 40),
    ],
)
def test_what_a_queue_needs_now(
    busy: float, backlog: float, wait: float, needed: float, most: float, now: float
) -> None:
    assert Need(20, busy, backlog, wait, needed, most).now == now


@pytest.mark.parametrize(
    ("needs", "own", "processes"),
    [
        ([], 20, 0),  # nothing is needed
        ([need(0, 20)], 20, 0),
        ([need(20, 20)], 20, 1),  # all slots are busy, nothing waits: it fits
        ([need(21, 20)], 20, 2),  # one more does not
        ([need(20_000, 20)], 20, 1_000),
        ([need(30, 20), need(30, 20)], 20, 3),  # slots serve several queues: their needs add up
        ([need(60, 40)], 20, 2),  # half of the slots are ours: half of the need is
        ([need(60, 80)], 20, 1),
        ([need(60, 40), need(10, 20)], 20, 2),  # the second queue is served by us alone: 30 + 10 slots
        ([need(60, 0)], 20, 3),  # the view does not know of us yet
        ([need(60, 20)], 0, None),  # nor do we
    ],
)
def test_our_share_of_the_need_becomes_processes_of_twenty_slots(
    needs: list[Need], own: float, processes: int | None
) -> None:
    assert wanted(needs, own, 20) == processes


@pytest.mark.parametrize("fleets", [[1, 1], [1, 3], [2, 2, 2], [1, 5, 10]])
@pytest.mark.parametrize("needed", [0, 5, 60, 137, 1_000])
def test_several_supervisors_together_run_what_is_needed_and_at_most_one_more_each(
    fleets: list[int], needed: int
) -> None:
    concurrency = 10
    slots = sum(fleets) * concurrency
    runs = [wanted([need(needed, slots)], own * concurrency, concurrency) for own in fleets]
    total = sum(run for run in runs if run is not None)
    assert needed <= total * concurrency < needed + len(fleets) * concurrency


SPAN = Span(1, 4)


@pytest.mark.parametrize(
    ("scale", "processes", "now", "crashed_at", "after"),
    [
        (Scale(1), 4, 100, -inf, Scale(4)),  # at once
        (Scale(1), 99, 100, -inf, Scale(4)),  # no further than it may
        (Scale(1), 0, 100, -inf, Scale(1)),  # nor below
        (Scale(2), 2, 100, -inf, Scale(2)),
        (Scale(2, 95), 2, 100, -inf, Scale(2)),  # the quiet time is over when all of them are needed
        (Scale(2, 95), 3, 100, -inf, Scale(3)),
        (Scale(3), 1, 100, -inf, Scale(3, 100)),  # it begins
        (Scale(3, 95), 1, 100, -inf, Scale(3, 95)),  # it lasts
        (Scale(3, 100 - QUIET), 1, 100, -inf, Scale(2, 100 - QUIET + PACE)),  # one goes
        (Scale(3, 100 - QUIET), 0, 100, -inf, Scale(2, 100 - QUIET + PACE)),  # one, whatever is wanted
        (Scale(3, 50), None, 100, -inf, Scale(3)),  # nobody knows: all stay
        (Scale(1), 4, 100, 95, Scale(1)),  # processes die young: no company for them
        (Scale(1), 4, 100, 100 - CALM, Scale(4)),
        (Scale(3, 100 - QUIET), 1, 100, 95, Scale(2, 100 - QUIET + PACE)),
    ],
)
def test_a_decision(scale: Scale, processes: int | None, now: float, crashed_at: float, after: Scale) -> None:
    assert decide(SPAN, scale, processes, now, crashed_at) == after


@pytest.mark.parametrize("most", [2, 4, 16, 64])
def test_it_is_back_at_the_least_within_a_minute_one_at_a_time(most: int) -> None:
    span, scale = Span(1, most), Scale(most)
    for tick in range(int((QUIET + WAY_BACK) / LOOK) + 2):
        after = decide(span, scale, 0, tick * LOOK)
        assert scale.target - after.target in {0, 1}
        scale = after
    assert scale.target == 1


def test_load_that_comes_and_goes_keeps_what_it_needs_at_its_height() -> None:
    scale = Scale(1)
    targets = set()
    for second in range(120):
        scale = decide(SPAN, scale, 3 if second % 8 == 0 else 1, float(second))
        targets.add(scale.target)
    assert targets == {3}
