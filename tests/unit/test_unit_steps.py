"""Steps of the database's clock, told by our monotonic one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pgq.steps import ClockSteps

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("moved", "before", "after", "step"),
    [
        (10, 10, 10, 0),
        (10.9, 10, 10, 0),  # slewed
        (9.1, 10, 10, 0),
        (10, 0, 10, 0),  # the answer took ten seconds: nobody knows when in them it was true
        (3_610, 10, 10, 3_600),
        (-3_590, 10, 10, -3_600),
        (16, 10, 14, 2),
    ],
)
def test_a_step_is_what_the_clock_moved_beyond_the_time_that_passed(
    moved: float, before: float, after: float, step: float
) -> None:
    clock = ClockSteps()
    assert clock.look(at(0), 100.0, 100.0) == 0
    assert clock.look(at(moved), 100.0 + before, 100.0 + after) == step


def test_steps_ahead_add_up_and_the_last_says_what_started_before_it() -> None:
    clock = ClockSteps()
    for moved, passed in ((0, 0), (3_601, 1), (3_602, 2), (7_203, 3), (3_000, 4)):
        clock.look(at(moved), float(passed), float(passed))
    assert (clock.before, clock.ahead) == (at(3_603), 7_200.0)
