"""encode: JSON that reads back exactly, or one sentence that names the place."""

from __future__ import annotations

import enum
import json
import math
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgq.errors import InvalidPayload
from pgq.payload import MAX_BYTES, MAX_DEPTH, encode

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20)


def nested(levels: int) -> dict[str, object]:
    value: object = []
    for _ in range(levels - 2):
        value = [value]
    return {"a": value}


@given(st.dictionaries(TEXT, VALUES))
def test_any_json_reads_back_exactly(payload: dict[str, object]) -> None:
    assert repr(json.loads(encode(payload))) == repr(payload)


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        ({"a": {"b": [1, "x\0"]}}, r"payload\.a\.b\[1\] must not contain NUL"),
        ({"a\0": 1}, "key .* of payload must not contain NUL"),
        ({"a": "\ud800"}, r"payload\.a must be valid Unicode, got a lone surrogate"),
        ({"\udfff": 1}, "key .* of payload must be valid Unicode"),
        ({"a": [math.nan]}, r"payload\.a\[0\] must be a finite number, got nan"),
        ({"a": math.inf}, r"payload\.a must be a finite number, got inf"),
        ({"a": -math.inf}, r"payload\.a must be a finite number, got -inf"),
        ({"a": (1, 2)}, r"payload\.a must be a JSON value, got tuple"),
        ({"a": [{"b": ()}]}, r"payload\.a\[0\]\.b must be a JSON value, got tuple"),
        ({"a": {1: 2}}, r"payload\.a must have string keys, got 1"),
        ({"a": {None: 2}}, r"payload\.a must have string keys, got None"),
        ({"a": {True: 2}}, r"payload\.a must have string keys, got True"),
        ({"a": {"1": 1, 1: 2}}, r"payload\.a must have string keys, got 1"),
        ({"a": {1}}, r"payload\.a must be a JSON value, got set"),
        ({"a": b"x"}, r"payload\.a must be a JSON value, got bytes"),
        ({"a": Decimal(1)}, r"payload\.a must be a JSON value, got Decimal"),
        ({"a": datetime(2030, 1, 1, tzinfo=UTC)}, r"payload\.a must be a JSON value, got datetime"),
        ({"a": [0, 10**5000]}, r"payload\.a\[1\] is an integer of too many digits"),
        ({"a": -(10**5000)}, r"payload\.a is an integer of too many digits"),
        ({"a": object()}, r"payload\.a must be a JSON value, got object"),
        (nested(MAX_DEPTH + 1), f"at most {MAX_DEPTH} levels deep"),
        (nested(5_000), f"at most {MAX_DEPTH} levels deep"),
        ({"a": "x" * MAX_BYTES}, f"at most {MAX_BYTES} bytes, got {MAX_BYTES + 8}"),
        ({"a": "ä" * (MAX_BYTES // 2)}, f"at most {MAX_BYTES} bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_would_not_come_back_the_same_is_refused_by_its_place(payload: dict[str, object], complaint: str) -> None:
    with pytest.raises(InvalidPayload, match=complaint):
        encode(payload)


def test_a_payload_that_contains_itself_is_refused() -> None:
    loop: dict[str, object] = {}
    loop["a"] = loop
    with pytest.raises(InvalidPayload, match="levels deep"):
        encode(loop)


@given(st.dictionaries(TEXT, VALUES), TEXT, st.sampled_from(["\0", "\ud800", math.nan, math.inf, (1,), {1: 1}, {2}]))
@settings(max_examples=50)
def test_one_bad_value_anywhere_is_found(payload: dict[str, object], key: str, bad: object) -> None:
    with pytest.raises(InvalidPayload, match="payload"):
        encode({**payload, key: [{"deep": bad}]})


def test_the_largest_and_the_deepest_payload_fit() -> None:
    assert len(encode({"a": "x" * (MAX_BYTES - 8)})) == MAX_BYTES
    assert json.loads(encode(nested(MAX_DEPTH))) == nested(MAX_DEPTH)


def test_many_small_lists_are_not_taken_for_deep_ones() -> None:
    payload = {"a": [[n] for n in range(500)]}
    assert json.loads(encode(payload)) == payload


def test_text_that_only_looks_like_an_escape_is_taken() -> None:
    payload = {"a": "\\u0000", "b": '"\\"', "c": "\u2028\x7f\x01"}
    assert json.loads(encode(payload)) == payload


def test_the_size_is_that_of_the_bytes_and_can_be_set() -> None:
    assert encode({}, max_bytes=2) == "{}"
    with pytest.raises(InvalidPayload, match="at most 9 bytes, got 10"):
        encode({"a": "ä"}, max_bytes=9)


def test_an_enum_that_is_a_number_is_stored_as_the_number() -> None:
    class Size(enum.IntEnum):
        BIG = 3

    assert encode({"a": Size.BIG}) == '{"a":3}'
