"""Cursor, Clock: where the next claim begins, and never beyond what may still wait."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgq.cursor import BEGINNING, LAG, PRIORITIES, SWEEP_EVERY, SWEEP_SHARE, SWEEP_WITHIN, TICK, Clock, Cursor
from pgq.task import Task

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
JUST_NOW = NOW - LAG


def claimed(*places: tuple[int, float]) -> list[Task]:
    """Return tasks of these priorities, due so many seconds before now."""
    return [
        Task("q", uuid.UUID(int=1), n, NOW - timedelta(seconds=ago), "t", priority, "{}", 1, 1, 1.0, 0, NOW)
        for n, (priority, ago) in enumerate(places)
    ]


def floors(default: datetime, **others: datetime) -> list[datetime]:
    return [others.get(f"p{priority}", default) for priority in PRIORITIES]


@pytest.mark.parametrize(
    ("tasks", "asked", "expected"),
    [
        (claimed(), 5, floors(JUST_NOW)),
        (claimed((0, 9), (10, 9)), 3, floors(JUST_NOW)),
        (claimed((0, 9)), 1, floors(BEGINNING, p0=NOW - timedelta(seconds=9) - LAG)),
        (claimed((0, 9), (0, 5)), 2, floors(BEGINNING, p0=NOW - timedelta(seconds=5) - LAG)),
        (claimed((2, 9), (2, 5)), 2, floors(BEGINNING, p0=JUST_NOW, p1=JUST_NOW, p2=NOW - timedelta(seconds=5) - LAG)),
        (claimed((0, 9), (1, 3), (1, 2)), 3, floors(BEGINNING, p0=JUST_NOW, p1=NOW - timedelta(seconds=2) - LAG)),
        (claimed((0, -9)), 1, floors(BEGINNING, p0=JUST_NOW)),
        (claimed((10, 1)), 1, floors(JUST_NOW, p10=NOW - timedelta(seconds=1) - LAG)),
    ],
)
def test_the_floors_move_to_where_the_claim_stopped(tasks: list[Task], asked: int, expected: list[datetime]) -> None:
    cursor = Cursor()
    cursor.advance(tasks, asked, NOW)
    assert cursor.floors == expected


def test_floors_never_move_back_by_themselves() -> None:
    cursor = Cursor()
    cursor.advance([], 1, NOW)
    cursor.advance([], 1, NOW - timedelta(hours=1))
    cursor.advance(claimed((5, 99)), 1, NOW - timedelta(hours=1))
    assert cursor.floors == floors(JUST_NOW)
    cursor.reset()
    assert cursor.floors == floors(BEGINNING)


ROWS = st.lists(st.tuples(st.integers(0, 10), st.floats(0, 100), st.booleans()), max_size=30)


@given(rows=ROWS, asked=st.integers(1, 12))
def test_no_floor_passes_a_row_that_may_still_be_claimed(rows: list[tuple[int, float, bool]], asked: int) -> None:
    """Claim from a model of the table again and again: each row that no one else holds is found by the floors."""
    waiting = {n: (priority, NOW - timedelta(seconds=ago)) for n, (priority, ago, held) in enumerate(rows) if not held}
    cursor = Cursor()
    found: list[int] = []
    for _ in range(len(rows) + 1):
        visible = [(place, n) for n, place in waiting.items() if place[1] >= cursor.floors[place[0]]]
        taken = [n for _, n in sorted(visible)[:asked]]
        tasks = claimed(*((waiting[n][0], (NOW - waiting[n][1]).total_seconds()) for n in taken))
        cursor.advance(tasks, asked, NOW)
        for n in taken:
            found.append(n)
            del waiting[n]
    assert waiting == {}
    assert len(found) == len(set(found))


@given(rows=st.lists(st.tuples(st.integers(0, 10), st.floats(-100, 100)), max_size=20), asked=st.integers(1, 25))
def test_no_floor_comes_closer_to_now_than_the_lag(rows: list[tuple[int, float]], asked: int) -> None:
    cursor = Cursor()
    cursor.advance(claimed(*sorted(rows, key=lambda row: (row[0], -row[1]))), asked, NOW)
    assert all(floor <= NOW - LAG for floor in cursor.floors)


def test_a_sweep_that_brought_all_it_asked_for_lowers_the_floors_there_is_more_behind_it() -> None:
    cursor = Cursor()
    cursor.advance(claimed((5, 1)), 2, NOW)
    cursor.swept(0.0, 0.001, full=False)
    assert cursor.floors == floors(JUST_NOW)
    cursor.swept(0.0, 0.001, full=True)
    cursor.advance(claimed((5, 99), (5, 98)), 2, NOW)
    assert cursor.floors[5] == NOW - timedelta(seconds=98) - LAG


def test_a_sweep_lowers_no_floor_below_what_somebody_clears_away() -> None:
    cursor = Cursor()
    cursor.advance([], 1, NOW)
    cursor.skip({5: NOW - timedelta(seconds=9), 8: NOW})
    behind = NOW - timedelta(seconds=9) + TICK
    assert cursor.floors == [NOW + TICK if priority == 8 else JUST_NOW for priority in range(11)]
    cursor.swept(0.0, 0.001, full=True)
    expected = [{5: behind, 8: NOW + TICK}.get(priority, BEGINNING) for priority in range(11)]
    assert cursor.floors == cursor.bottom == expected
    cursor.reset()
    assert cursor.floors == cursor.bottom == floors(BEGINNING)


def test_the_first_look_is_a_sweep() -> None:
    assert Cursor().must_sweep(0.0)
    assert Cursor().may_sweep(0.0)


def test_a_busy_lane_sweeps_every_few_seconds_and_an_idle_one_may_sooner() -> None:
    cursor = Cursor()
    cursor.swept(90.0, 90.001, full=False)
    cursor.swept(100.0, 100.001, full=False)
    soon = 100.001 + SWEEP_SHARE * 0.001
    assert (cursor.may_sweep(soon - 0.01), cursor.may_sweep(soon + 0.01)) == (False, True)
    assert (cursor.must_sweep(soon + 0.01), cursor.must_sweep(100.001 + SWEEP_EVERY)) == (False, True)


def test_a_slow_sweep_is_repeated_rarely_however_busy_the_lane() -> None:
    cursor = Cursor()
    cursor.swept(0.0, 0.5, full=False)
    cursor.swept(10.0, 10.5, full=False)
    ends = 10.5 + SWEEP_SHARE / 2
    assert (cursor.must_sweep(ends - 1), cursor.must_sweep(ends + 1)) == (False, True)
    cursor.swept(100.0, 160.0, full=False)
    cursor.swept(200.0, 260.0, full=False)
    ends = 260 + SWEEP_WITHIN
    assert (cursor.must_sweep(ends - 1), cursor.must_sweep(ends + 1)) == (False, True)


def test_one_sweep_during_which_the_process_stood_still_makes_no_sweep_rarer() -> None:
    cursor = Cursor()
    cursor.swept(0.0, 2.0, full=False)
    assert cursor.may_sweep(2.0)
    cursor.swept(2.0, 2.001, full=False)
    cursor.swept(5.0, 7.0, full=False)
    assert cursor.may_sweep(7.0 + SWEEP_SHARE * 0.001)


def test_the_clock_goes_on_from_what_the_database_said_and_notices_a_step_back() -> None:
    clock = Clock()
    assert clock.set(NOW) is False
    assert NOW <= clock.now() < NOW + timedelta(seconds=5)
    assert clock.set(NOW + timedelta(seconds=10)) is False
    assert clock.set(NOW + timedelta(seconds=10) - LAG * 2) is True
    assert clock.now() < NOW + timedelta(seconds=10)
