"""Options: everything that can be refused is refused before SQL, by name and value."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgq.enqueue import many, one
from pgq.errors import InvalidOption
from pgq.options import Options

MOMENT = datetime(2030, 1, 1, tzinfo=UTC)
KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=500)


@given(
    priority=st.integers(0, 10),
    delay=st.none() | st.floats(0, 1e9) | st.timedeltas(timedelta(0), timedelta(days=36_000)),
    max_attempts=st.none() | st.integers(1, 2**31 - 1),
    timeout=st.none() | st.floats(0, 1e9, exclude_min=True),
    unique_key=st.none() | KEYS,
    on_conflict=st.sampled_from(["raise", "skip", "replace", "return_existing"]),
)
def test_whatever_is_in_range_is_taken_and_passed_on(**given_options: object) -> None:
    options = Options(**given_options)
    values = options.values()
    assert values["priority"] == given_options["priority"]
    assert values["max_attempts"] == given_options["max_attempts"]
    assert values["timeout"] == given_options["timeout"]
    assert (values["delay"] or 0) >= 0


@given(
    options=st.sampled_from(["priority", "max_attempts", "timeout", "delay"]),
    value=st.sampled_from([math.nan, math.inf, -math.inf, -1, "1", [], True, 2**63, 10**400, object()]),
)
def test_numbers_out_of_range_are_refused_by_name(options: str, value: object) -> None:
    with pytest.raises(InvalidOption, match=f"{options} must be"):
        Options(**{options: value})


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"priority": 11}, "priority must be 0 to 10, got 11"),
        ({"priority": 2.0}, r"priority must be 0 to 10, got 2\.0"),
        ({"priority": None}, "priority must be 0 to 10, got None"),
        ({"max_attempts": 0}, "max_attempts must be .*, got 0"),
        ({"max_attempts": 2.5}, r"max_attempts must be .*, got 2\.5"),
        ({"max_attempts": 2**31}, "max_attempts must be .*, got 2147483648"),
        ({"timeout": 0}, "timeout must be above 0 .*, got 0"),
        ({"timeout": 2e9}, "timeout must be above 0 and at most"),
        ({"delay": timedelta(seconds=-1)}, "delay must be 0 seconds to a century"),
        ({"delay": timedelta(days=40_000)}, "delay must be 0 seconds to a century"),
        ({"delay": 5, "scheduled_at": MOMENT}, "give delay or scheduled_at, not both"),
        ({"delay": 0, "scheduled_at": MOMENT}, "give delay or scheduled_at, not both"),
        ({"scheduled_at": MOMENT.replace(tzinfo=None)}, "scheduled_at must be a datetime with a time zone"),
        ({"scheduled_at": "2030-01-01"}, "scheduled_at must be a datetime with a time zone"),
        ({"scheduled_at": MOMENT.date()}, "scheduled_at must be a datetime with a time zone"),
        ({"unique_key": ""}, "unique_key must be 1 to 500 characters"),
        ({"unique_key": "x" * 501}, "unique_key must be 1 to 500 characters"),
        ({"unique_key": "a\0"}, "unique_key must be 1 to 500 characters without NUL"),
        ({"unique_key": "\ud800"}, "unique_key must be valid Unicode, got a lone surrogate"),
        ({"unique_key": 5}, "unique_key must be 1 to 500 characters"),
        ({"on_conflict": "ignore"}, "on_conflict must be raise, skip, replace or return_existing, got 'ignore'"),
        ({"on_conflict": None}, "on_conflict must be"),
    ],
    ids=str,
)
def test_what_is_out_of_range_is_named_with_its_value(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(InvalidOption, match=complaint):
        Options(**options)


def test_a_change_is_checked_again_and_leaves_the_first_alone() -> None:
    first = Options(priority=3)
    assert first.changed(delay=5) == Options(priority=3, delay=5)
    with pytest.raises(InvalidOption, match="priority"):
        first.changed(priority=99)
    assert first == Options(priority=3)


def test_a_unique_key_is_for_one_task_at_a_time() -> None:
    keyed = Options(unique_key="k")
    assert one("q", "t", "{}", keyed).name == "enqueue_unique"
    assert one("q", "t", "{}", Options()).name == "enqueue"
    with pytest.raises(InvalidOption, match="unique_key is for one task at a time"):
        many("q", "t", ["{}", "{}"], keyed)
