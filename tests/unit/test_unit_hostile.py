"""Whatever a caller gives is taken, or refused in one sentence of ours: never another exception, never a long story."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hostile_errors import ERRORS
from hostile_values import ALL, ANYTHING, hashable, is_one_sentence
from hypothesis import given, settings
from hypothesis import strategies as st

import pgq
from pgq.errors import PgqError, shown
from pgq.options import Options
from pgq.payload import encode
from pgq.quota import check_keys
from pgq.readonly import Refused, check
from pgq.task import MAX_ERROR, MAX_TRACEBACK, failure

OPTIONS = [
    "priority", "delay", "scheduled_at", "max_attempts", "timeout", "unique_key", "on_conflict", "limit_key", "weight",
]  # fmt: skip
SETTINGS = [
    "concurrency", "rate_limit", "timeout", "max_attempts", "backoff", "keep_dead", "retention", "on_limiter_down",
]  # fmt: skip


def app_limit(value: Any) -> None:
    app = pgq.App()
    app.key_limit("customer", concurrency=1)
    app.limit("customer", key=value)


PLACES: dict[str, Callable[[Any], Any]] = {
    **{f"option {name}": lambda value, name=name: Options(**{name: value}) for name in OPTIONS},
    **{f"queue {name}": lambda value, name=name: pgq.App().queue("q", **{name: value}) for name in SETTINGS},
    "queue name": lambda value: pgq.App().queue(name=value),
    "task name": lambda value: pgq.App().queue("q").task(name=value)(lambda: None),
    "limit name": lambda value: pgq.App().key_limit(value, concurrency=1),
    "limit rate": lambda value: pgq.App().key_limit("a", rate=value),
    "limit concurrency": lambda value: pgq.App().key_limit("a", concurrency=value),
    "limit of an app": lambda value: pgq.App().limit(value, key="a"),
    "key of a limit": app_limit,
    "rate max": lambda value: pgq.Rate(value, per=1),
    "rate per": lambda value: pgq.Rate(1, per=value),
    "fixed delay": lambda value: pgq.App().queue("q", backoff=pgq.Fixed(value)),
    "exponential delay": lambda value: pgq.App().queue("q", backoff=pgq.Exponential(value)),
    "exponential cap": lambda value: pgq.App().queue("q", backoff=pgq.Exponential(1, cap=value)),
    "jitter": lambda value: pgq.App().queue("q", backoff=pgq.Exponential(1, jitter=value)),
    "retry after": pgq.Retry,
    "retry reason": lambda value: pgq.Retry(reason=value),
    "snooze": pgq.Snooze,
    "dead": pgq.Dead,
    "rate limited": pgq.RateLimited,
    "key of rate limited": lambda value: pgq.RateLimited(1, key=value),
    "limit keys": lambda value: check_keys([value]),
    "served": lambda value: pgq.App().served([value]),
}


def refusal(act: Callable[[Any], Any], value: Any) -> PgqError | None:
    """Give a value; returns our error, where it was refused. Raises any other."""
    try:
        act(value)
    except PgqError as error:
        return error
    return None


@pytest.mark.parametrize("place", PLACES)
def test_every_hostile_value_is_taken_or_refused_in_one_sentence(place: str) -> None:
    for value in ALL:
        error = refusal(PLACES[place], value)
        assert error is None or is_one_sentence(error), shown(value)


@settings(max_examples=300, deadline=None)
@given(place=st.sampled_from(sorted(PLACES)), value=ANYTHING)
def test_whatever_else_comes_to_hypothesis_too(place: str, value: Any) -> None:
    error = refusal(PLACES[place], value)
    assert error is None or is_one_sentence(error)


@settings(max_examples=400, deadline=None)
@given(
    payload=st.dictionaries(
        st.text(st.characters()) | ANYTHING.filter(hashable),
        st.recursive(
            ANYTHING, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
        ),
        max_size=4,
    )
)
def test_a_payload_reads_back_as_it_was_or_is_refused_in_one_sentence(payload: dict[Any, Any]) -> None:
    if error := refusal(encode, payload):
        assert is_one_sentence(error)
    else:
        text = encode(payload)
        assert json.loads(text) == payload
        assert text.encode()
        assert "\\u0000" not in text.replace("\\\\", "")


@pytest.mark.parametrize("value", ALL, ids=lambda value: type(value).__name__)
def test_every_hostile_value_in_a_payload_reads_back_or_is_refused(value: Any) -> None:
    for payload in ({"a": value}, {"a": [value]}, {"a": {"b": [1, value]}}):
        error = refusal(encode, payload)
        assert is_one_sentence(error) if error else json.loads(encode(payload)) == payload


@pytest.mark.parametrize("payload", ALL, ids=lambda value: type(value).__name__)
def test_what_is_no_mapping_is_no_arguments(payload: Any) -> None:
    handler = pgq.App().queue("q").task(name="t")(lambda **_: None)
    error = refusal(lambda value: handler.enqueue_many(None, [value]), payload)
    assert is_one_sentence(error)  # at the latest that there is no connection


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__[:30])
def test_whatever_was_raised_becomes_a_failure_that_postgres_can_hold(error: BaseException) -> None:
    failed = failure(error)
    assert 0 < len(failed.error) <= MAX_ERROR
    assert len(failed.trace) <= MAX_TRACEBACK
    for text in (failed.error, failed.trace):
        assert "\0" not in text
        assert text.encode()


QUESTIONS = [
    ']"\n"', 'select pgq."x\ny"()', 'select * from "\x1b[31m"', f'select "{"x" * 9000}"()', "select '\r",
    'select 1::"a\nb"',
]  # fmt: skip


@pytest.mark.parametrize("text", QUESTIONS, ids=range(len(QUESTIONS)))
def test_what_a_question_is_refused_for_is_one_line(text: str) -> None:
    with pytest.raises(Refused) as refused:
        check(text)
    assert is_one_sentence(refused.value)
    assert str(refused.value).isprintable()
