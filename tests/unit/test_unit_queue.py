"""Settings, Rate, backoff: what a queue may be, and how long a retry waits."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgq.app import App
from pgq.errors import InvalidOption
from pgq.queue import DECLARED, Exponential, Fixed, Rate, Settings, check_name

WEBHOOKS = App().queue("webhooks", concurrency=10, timeout=15, max_attempts=5, backoff=Exponential(1.0)).settings


def test_the_webhooks_of_the_example_are_tried_again_after_1_2_4_8_16_seconds() -> None:
    assert [WEBHOOKS.retry_delay(attempt) for attempt in range(1, 6)] == [1, 2, 4, 8, 16]


def test_a_fixed_backoff_is_the_same_every_time() -> None:
    settings = App().queue("pdf", backoff=Fixed(10.0)).settings
    assert {settings.retry_delay(attempt) for attempt in (1, 2, 50, 10**6)} == {10.0}


def test_a_backoff_is_capped() -> None:
    settings = App().queue("q", backoff=Exponential(5.0, cap=60.0)).settings
    assert [settings.retry_delay(attempt) for attempt in (1, 4, 5, 100)] == [5, 40, 60, 60]


@pytest.mark.parametrize("attempts", [63, 64, 1_000, 10**6, 2**31])
def test_many_attempts_do_not_overflow(attempts: int) -> None:
    assert WEBHOOKS.retry_delay(attempts) == 86_400


def test_a_fixed_delay_longer_than_a_day_is_kept() -> None:
    assert App().queue("q", backoff=Fixed(200_000.0)).settings.retry_delay(1) == 200_000


@given(
    delay=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
    cap=st.floats(0, 1e6),
    attempts=st.integers(-5, 10**6),
    backoff=st.sampled_from(["fixed", "exponential"]),
)
def test_jitter_only_adds_and_at_most_its_share(
    delay: float, jitter: float, cap: float, attempts: int, backoff: str
) -> None:
    plain = Settings(name="q", backoff=backoff, delay=delay, max_delay=cap).retry_delay(attempts)
    varied = Settings(name="q", backoff=backoff, delay=delay, max_delay=cap, jitter=jitter).retry_delay(attempts)
    assert 0 <= plain <= varied <= plain * (1 + jitter)
    assert plain <= cap


def test_jitter_varies() -> None:
    settings = Settings(name="q", jitter=1.0)
    assert len({settings.retry_delay(1) for _ in range(20)}) > 1


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"concurrency": 0}, "concurrency of queue 'q' must be"),
        ({"concurrency": -1}, "concurrency of queue 'q' must be"),
        ({"max_attempts": 0}, "max_attempts of queue 'q' must be"),
        ({"timeout": 0}, "timeout of queue 'q' must be"),
        ({"timeout": math.nan}, "timeout of queue 'q' must be"),
        ({"timeout": math.inf}, "timeout of queue 'q' must be"),
        ({"delay": -1}, "delay of queue 'q' must"),
        ({"delay": math.nan}, "delay of queue 'q' must"),
        ({"max_delay": math.inf}, "max_delay of queue 'q' must"),
        ({"retention": -0.1}, "retention of queue 'q' must"),
        ({"jitter": 1.01}, "jitter of queue 'q' must be 0 to 1"),
        ({"jitter": -0.01}, "jitter of queue 'q' must be 0 to 1"),
        ({"jitter": math.nan}, "jitter of queue 'q' must be 0 to 1"),
        ({"on_limiter_down": "panic"}, "on_limiter_down of queue 'q' must be wait or run, got 'panic'"),
        ({"concurrency": 2.5}, "concurrency of queue 'q' must be"),
        ({"concurrency": 2**31}, "concurrency of queue 'q' must be"),
        ({"concurrency": "3"}, "concurrency of queue 'q' must be"),
        ({"max_attempts": 1.5}, "max_attempts of queue 'q' must be"),
        ({"max_attempts": 2**31}, "max_attempts of queue 'q' must be"),
        ({"timeout": 1e300}, "timeout of queue 'q' must be"),
        ({"timeout": "60"}, "timeout of queue 'q' must be"),
        ({"delay": 1e300}, "delay of queue 'q' must"),
        ({"max_delay": 1e300}, "max_delay of queue 'q' must"),
        ({"retention": 1e300}, "retention of queue 'q' must"),
        ({"backoff": "linear"}, "backoff of queue 'q' must be"),
    ],
    ids=str,
)
def test_settings_that_no_server_could_use_are_refused_by_name(change: dict[str, object], complaint: str) -> None:
    with pytest.raises(InvalidOption, match=complaint):
        Settings(name="q", **change)


@pytest.mark.parametrize(
    ("most", "per"), [(0, 1), (-1, 1), (1, 0), (1, -1), (1, math.nan), (1, math.inf), (1.5, 1), (2**31, 1)]
)
def test_a_rate_that_limits_nothing_is_refused(most: int, per: float) -> None:
    with pytest.raises(InvalidOption, match="rate limit"):
        Rate(most, per)


@pytest.mark.parametrize("name", ["a", "email", "A.b:c-d_e", "0", "x" * 100, "_"])
def test_names_of_letters_digits_and_few_marks_are_taken(name: str) -> None:
    assert check_name("queue", name) == name


@pytest.mark.parametrize("name", ["", "-a", ".a", ":a", "x" * 101, "a b", "a\n", "ä", "a'", "a/b", None, 5, b"a"])
def test_other_names_are_refused(name: object) -> None:
    with pytest.raises(InvalidOption, match="queue name must be 1 to 100 of letters"):
        check_name("queue", name)


def test_a_declaration_names_every_setting_but_the_live_ones() -> None:
    declared = json.loads(WEBHOOKS.declared())
    assert tuple(declared) == DECLARED
    assert set(DECLARED) == set(Settings.__slots__) - {"name", "bell", "paused"}
    assert (declared["concurrency"], declared["timeout"], declared["delay"]) == (10, 15.0, 1.0)


def test_the_same_declaration_is_the_same_text() -> None:
    again = App().queue("webhooks", concurrency=10, timeout=15.0, max_attempts=5, backoff=Exponential(1)).settings
    assert again.declared() == WEBHOOKS.declared()


def test_settings_come_from_a_row_in_the_order_of_their_fields() -> None:
    row = [getattr(WEBHOOKS, name) for name in Settings.__slots__]
    assert Settings.from_row(row) == WEBHOOKS
    with pytest.raises(ValueError, match="shorter"):
        Settings.from_row(row[:-1])
