"""Config: arguments over environment over defaults, and numbers that make sense."""

from __future__ import annotations

import dataclasses
import math

import pytest

from pgq.config import Config
from pgq.errors import ConfigError


def test_arguments_win_over_the_environment_and_that_over_defaults() -> None:
    environ = {"PGQ_CONCURRENCY": "7", "PGQ_LEASE": "12.5", "PGQ_DSN": "env"}
    config = Config.load(environ, concurrency=3, lease=None)
    assert (config.concurrency, config.lease, config.dsn, config.poll) == (3, 12.5, "env", Config().poll)


def test_database_url_is_taken_when_pgq_dsn_is_not_set() -> None:
    assert Config.load({"DATABASE_URL": "url"}).dsn == "url"
    assert Config.load({"DATABASE_URL": "url", "PGQ_DSN": "dsn"}).dsn == "dsn"
    assert Config.load({"DATABASE_URL": "url", "PGQ_DSN": ""}).dsn == "url"
    assert Config.load({"DATABASE_URL": "url", "PGQ_DSN": "dsn"}, dsn="given").dsn == "given"


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert Config.load({"PGQ_CONCURRENCY": ""}) == Config()


def test_every_setting_can_come_from_its_variable() -> None:
    for field in dataclasses.fields(Config):
        value = {"str": "pgq:x", "int": 3, "float": 2.5}[field.type]
        assert getattr(Config.load({f"PGQ_{field.name.upper()}": str(value)}), field.name) == value


@pytest.mark.parametrize(
    ("variable", "text"), [("PGQ_CONCURRENCY", "many"), ("PGQ_CONCURRENCY", "2.5"), ("PGQ_LEASE", "1s")]
)
def test_a_variable_that_is_no_number_is_named_with_its_text(variable: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"{variable} must be a number, got '{text}'"):
        Config.load({variable: text})


@pytest.mark.parametrize("name", ["concurrency", "lease", "poll", "startup", "upkeep", "batch"])
@pytest.mark.parametrize("value", [0, -1])
def test_what_must_be_above_zero_is(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be .*, got {value}"):
        Config(**{name: value})


@pytest.mark.parametrize("name", ["grace", "overdue", "flush"])
def test_what_may_be_zero_is_not_negative(name: str) -> None:
    assert getattr(Config(**{name: 0}), name) == 0
    with pytest.raises(ConfigError, match=f"{name} must not be negative, got -1"):
        Config(**{name: -1})


@pytest.mark.parametrize("name", ["lease", "poll", "startup", "upkeep", "grace", "overdue", "flush"])
def test_what_is_no_number_is_no_time(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Config(**{name: math.nan})


@pytest.mark.parametrize("name", ["lease", "overdue"])
@pytest.mark.parametrize("value", [math.inf, 1e300])
def test_a_time_that_the_database_could_not_add_to_a_moment_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        Config(**{name: value})


def test_two_heartbeats_may_be_lost() -> None:
    config = Config(lease=30)
    assert 2 * config.heartbeat < config.lease <= 3 * config.heartbeat


def test_a_missing_dsn_says_how_to_give_one() -> None:
    with pytest.raises(ConfigError, match="PGQ_DSN"):
        Config().require_dsn()
    assert Config(dsn="x").require_dsn() == "x"
