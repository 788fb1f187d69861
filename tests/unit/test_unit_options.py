"""Options: everything that can be refused is refused before SQL, by name and value."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgq.enqueue import many, one
from pgq.errors import InvalidOption
from pgq.handler import Function, function
from pgq.options import Options, check_limits, check_written, fill_keys, templates
from pgq.queue import Rate
from pgq.quota import KeyLimit

MOMENT = datetime(2030, 1, 1, tzinfo=UTC)
KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=500)


@given(
    priority=st.integers(0, 10),
    delay=st.none() | st.floats(0, 1e9) | st.timedeltas(timedelta(0), timedelta(days=36_000)),
    max_attempts=st.none() | st.integers(1, 2**31 - 1),
    timeout=st.none() | st.floats(0, 1e9, exclude_min=True),
    unique_key=st.none() | KEYS,
    on_conflict=st.sampled_from(["raise", "skip", "replace", "return_existing"]),
    weight=st.integers(1, 2**31 - 1),
)
def test_whatever_is_in_range_is_taken_and_passed_on(**given_options: object) -> None:
    options = Options(**given_options)
    values = options.values()
    assert values["priority"] == given_options["priority"]
    assert values["max_attempts"] == given_options["max_attempts"]
    assert values["timeout"] == given_options["timeout"]
    assert (values["delay"] or 0) >= 0
    assert (values["weight"] or 1) == given_options["weight"]


@given(
    options=st.sampled_from(["priority", "max_attempts", "timeout", "delay", "weight"]),
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
        ({"weight": 0}, "weight must be 1 to 2147483647, got 0"),
        ({"weight": 1.0}, r"weight must be 1 to 2147483647, got 1\.0"),
        ({"weight": None}, "weight must be 1 to 2147483647, got None"),
        ({"limit_key": "acme"}, "limit_key must look like 'kind:key', got 'acme'"),
        ({"limit_key": ["a:b", 7]}, "limit_key must be printable text of at most 200 characters, got 7"),
        ({"limit_key": ()}, "limit_key must be 1 to 8 keys, got 0"),
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


KINDS = {"host": KeyLimit.declare("host", None, 1), "customer": KeyLimit.declare("customer", Rate(10, per=60), None)}


def work(host: str, *, copies: int = 1, customer: str | None = "none yet") -> None: ...


def known(target: object = work) -> Function:
    return function(target, name="work", queue="q", process=False)


def test_keys_are_passed_on_each_once_and_a_weight_of_one_as_none() -> None:
    assert Options(limit_key="host:a").values()["limit_keys"] == ["host:a"]
    several = Options(limit_key=("host:b", "host:a", "host:b"), weight=2)
    assert (several.values()["limit_keys"], several.values()["weight"]) == (["host:b", "host:a"], 2)
    plain = Options().values()
    assert (plain["limit_keys"], plain["weight"]) == (None, None)


def test_every_statement_carries_the_keys() -> None:
    options = Options(limit_key=["host:a", 'host:"\\'], weight=2)
    assert one("q", "t", "{}", options).values["limit_keys"] == ["host:a", 'host:"\\']
    assert one("q", "t", "{}", options.changed(unique_key="k")).values["limit_keys"] == ["host:a", 'host:"\\']
    assert one("q", "t", "{}", options, ["host:b"]).values["limit_keys"] == ["host:b"]
    array = r'{"host:a","host:\"\\"}'
    assert many("q", "t", ["{}", "{}"], options).values["limit_keys"] == [array, array]
    assert many("q", "t", ["{}", "{}"], options, [["host:b"], ["host:c"]]).values["limit_keys"] == [
        '{"host:b"}',
        '{"host:c"}',
    ]
    assert many("q", "t", ["{}"], Options()).values["limit_keys"] is None


def test_a_weight_up_to_the_rate_is_taken_and_concurrency_limits_none() -> None:
    check_limits(Options(limit_key=["host:a", "customer:b"], weight=10), KINDS)
    check_limits(Options(limit_key="host:a", weight=2**31 - 1), KINDS)
    check_limits(Options(weight=11), KINDS)
    with pytest.raises(InvalidOption, match="weight must be at most 10, the rate of limit 'customer', got 11"):
        check_limits(Options(limit_key="customer:b", weight=11), KINDS)


def test_a_kind_that_nobody_declared_is_named_with_those_there_are() -> None:
    with pytest.raises(InvalidOption, match="limit_key 'hots:a' is of no declared kind, this app has: host, customer"):
        check_limits(Options(limit_key="hots:a"), KINDS)
    with pytest.raises(InvalidOption, match="this app has: none"):
        check_limits(Options(limit_key="host:a"), {})


def test_keys_without_arguments_are_no_templates() -> None:
    assert templates(Options(), known()) == ()
    assert templates(Options(limit_key=["host:a", "customer:b"]), known()) == ()
    assert templates(Options(limit_key=["host:a", "customer:{host}"]), known()) == ("host:a", "customer:{host}")


def test_a_template_may_name_only_what_the_function_takes() -> None:
    with pytest.raises(InvalidOption, match=r"task 'work' does not take what its limit_key names.*'hots'"):
        templates(Options(limit_key="host:{hots}"), known())
    with pytest.raises(InvalidOption, match="does not take"):
        templates(Options(limit_key="host:{a}"), known(lambda: None))
    assert templates(Options(limit_key="host:{a}"), known(lambda **given: given)) == ("host:{a}",)


def test_templates_are_filled_from_arguments_before_defaults_each_key_once() -> None:
    keys = ["host:{host}", "customer:{customer}", "host:{customer}x{copies}"]
    assert fill_keys(keys, known(), {"host": "a"}) == ["host:a", "customer:none yet", "host:none yetx1"]
    assert fill_keys(["host:{host}", "host:{customer}"], known(), {"host": "a", "customer": "a"}) == ["host:a"]
    with pytest.raises(InvalidOption, match="limit_key needs 'customer' to be text or a whole number, got None"):
        fill_keys(keys, known(), {"host": "a", "customer": None})


def test_keys_of_an_enqueue_may_hold_braces_but_no_argument_of_the_task() -> None:
    check_written(Options(limit_key=["host:{a}", "host:{}", "host:host"]), known())
    with pytest.raises(InvalidOption, match=r"limit_key 'host:x\{copies\}' is a template"):
        check_written(Options(limit_key="host:x{copies}"), known())
