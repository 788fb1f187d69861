"""What options take: durations, rates, counts, times."""

from __future__ import annotations

from datetime import UTC, datetime

import click
import pytest

from pgq.cli import options


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("0", 0), ("1.5", 1.5), (".5", 0.5), ("500ms", 0.5), ("30s", 30), ("10m", 600), ("1.5h", 5400),
     ("7d", 604800), (" 5s ", 5)],
)  # fmt: skip
def test_a_duration_is_seconds_or_a_number_with_a_unit(text: str, seconds: float) -> None:
    assert options.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "1x", "-1", "1e400", "nan", "inf", "1 2", "9" * 400, "٣"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter, match="write seconds, or 500ms, 30s, 10m"):
        options.duration(text)


@pytest.mark.parametrize(
    ("text", "rate"), [("100/60s", (100, 60)), ("5/m", (5, 60)), ("1/500ms", (1, 0.5)), ("none", (None, None))]
)
def test_a_rate_is_starts_per_time(text: str, rate: tuple[int | None, float | None]) -> None:
    assert options.rate_limit(text) == rate


@pytest.mark.parametrize("text", ["", "100", "/60s", "x/60s", "100/", "100/x", "-1/s", "1.5/s", "9999999999/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        options.rate_limit(text)


@pytest.mark.parametrize(("text", "count"), [("5", (5,)), ("0", (0,)), ("-1", (-1,)), ("none", (None,))])
def test_a_count_may_be_none(text: str, count: tuple[int | None]) -> None:
    assert options.count_or_none(text) == count


@pytest.mark.parametrize("text", ["", "x", "1.5", "9999999999", "None"])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="neither a whole number nor none"):
        options.count_or_none(text)


def test_a_moment_has_a_time_zone() -> None:
    assert options.moment("2030-01-31T09:00:00Z") == datetime(2030, 1, 31, 9, tzinfo=UTC)
    assert options.moment("2030-01-31T09:00:00+02:00") == datetime(2030, 1, 31, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "complaint"), [("2030-01-31", "no time zone"), ("soon", "is no time"), ("", "no time")]
)
def test_what_is_no_moment_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(click.BadParameter, match=complaint):
        options.moment(text)
