"""Quota, kinds of keys, limit keys: what they may be, and how they are spelled."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgq.errors import InvalidOption
from pgq.queue import Rate
from pgq.quota import LONGEST_KEY, MOST_KEYS, KeyLimit, Quota, check_key, check_keys, fill, kind_of


@pytest.mark.parametrize(
    ("per", "slack"),
    [(None, 0.05), (0.01, 0.05), (1.0, 0.05), (2.0, 0.1), (10.0, 0.2), (30.0, 0.3), (60.0, 0.5), (86_400.0, 0.5)],
)
def test_slack_is_a_small_share_of_the_window_from_50_ms_to_half_a_second(per: float | None, slack: float) -> None:
    assert Quota(1, per).slack == slack


def test_a_quota_binds_where_it_has_a_rate_or_slots() -> None:
    assert [Quota().binds, Quota(1, 1.0).binds, Quota(slots=1).binds] == [False, True, True]


def test_scripts_read_microseconds_and_nothing_for_what_is_not_limited() -> None:
    assert Quota(100, 60.0, 5).words() == ("100", "60000000", "500000", "5")
    assert Quota(slots=5).words() == ("", "", "", "5")
    assert Quota(1, 0.1).words() == ("1", "100000", "50000", "")
    assert Quota().words() == ("", "", "", "")


@given(st.integers(1, 2**31 - 1), st.floats(1e-6, 1e9))
def test_words_are_whole_numbers_whatever_the_window(most: int, per: float) -> None:
    assert all(word.isdigit() for word in Quota(most, per).words()[:3])


def test_a_kind_of_key_has_a_rate_a_concurrency_or_both() -> None:
    assert KeyLimit.declare("customer", Rate(10, per=1), 2) == KeyLimit("customer", Quota(10, 1.0, 2))
    assert KeyLimit.declare("customer", Rate(10, per=1), None).quota == Quota(10, 1.0)
    assert KeyLimit.declare("customer", None, 2).quota == Quota(slots=2)


@pytest.mark.parametrize(
    ("name", "rate", "concurrency", "complaint"),
    [
        ("customer", None, None, "limit 'customer' needs a rate, a concurrency or both"),
        ("a:b", None, 1, "limit name must not contain a colon, got 'a:b'"),
        ("", None, 1, "limit name must be"),
        ("a b", None, 1, "limit name must be"),
        (None, None, 1, "limit name must be"),
        ("customer", None, 0, "concurrency of limit 'customer' must be"),
        ("customer", None, 1.5, "concurrency of limit 'customer' must be"),
    ],
    ids=str,
)
def test_a_kind_that_limits_nothing_or_has_no_name_is_refused(
    name: str, rate: Rate | None, concurrency: int | None, complaint: str
) -> None:
    with pytest.raises(InvalidOption, match=complaint):
        KeyLimit.declare(name, rate, concurrency)


@pytest.mark.parametrize(
    ("given_", "found"),
    [
        ("customer:7", ("customer:7",)),
        (["customer:7", "host:a"], ("customer:7", "host:a")),
        (("host:a", "host:a"), ("host:a",)),
        ("url:https://example.org:8080/ä b", ("url:https://example.org:8080/ä b",)),
        ("k:" + "x" * (LONGEST_KEY - 2), ("k:" + "x" * (LONGEST_KEY - 2),)),
    ],
)
def test_limit_keys_are_one_or_several_each_once(given_: object, found: tuple[str, ...]) -> None:
    assert check_keys(given_) == found


@pytest.mark.parametrize(
    "key",
    [
        "",
        "customer",
        ":7",
        "customer:",
        "k:" + "x" * LONGEST_KEY,
        "k:a\n",
        "k:\0",
        "k:\ud800",
        7,
        None,
        b"k:a",
        math.nan,
    ],
    ids=repr,
)
def test_what_is_no_limit_key_is_refused_and_shown(key: object) -> None:
    with pytest.raises(InvalidOption, match="limit_key must"):
        check_key(key)
    with pytest.raises(InvalidOption, match="limit_key must"):
        check_keys([key, "k:fine"])


@pytest.mark.parametrize("keys", [[], (), {}, {"k:a"}, None, 7, [f"k:{n}" for n in range(MOST_KEYS + 1)]], ids=str)
def test_none_or_too_many_limit_keys_are_refused(keys: object) -> None:
    with pytest.raises(InvalidOption, match="limit_key must"):
        check_keys(keys)


def test_the_kind_of_a_key_ends_at_its_first_colon() -> None:
    assert kind_of("host:example.org:443") == "host"


def test_fields_of_a_template_are_filled_from_the_payload() -> None:
    payload = {"customer": 7, "host": "example.org", "other": 1.5}
    assert fill(["customer:{customer}", "pair:{host}/{customer}"], payload) == ("customer:7", "pair:example.org/7")
    assert fill(["fixed:one"], {}) == ("fixed:one",)


def test_what_a_field_holds_is_no_template_again() -> None:
    assert fill(["host:{host}"], {"host": "{customer}", "customer": 7}) == ("host:{customer}",)


@pytest.mark.parametrize("value", [None, True, 1.5, [], {}, b"x"], ids=repr)
def test_a_field_that_is_no_text_or_whole_number_is_refused_by_name(value: object) -> None:
    with pytest.raises(InvalidOption, match="limit_key needs 'customer' to be text or a whole number"):
        fill(["customer:{customer}"], {"customer": value})


def test_a_field_that_is_missing_or_empty_is_refused() -> None:
    with pytest.raises(InvalidOption, match="limit_key needs 'customer'"):
        fill(["customer:{customer}"], {})
    with pytest.raises(InvalidOption, match="must look like 'kind:key', got 'customer:'"):
        fill(["customer:{customer}"], {"customer": ""})
