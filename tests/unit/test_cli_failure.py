"""Failures are one sentence, and never tell a password."""

from __future__ import annotations

import pytest

from pgq.cli.failure import Failure, check_dsn, sentence, without_passwords
from pgq.errors import ConfigError, UnknownQueue


@pytest.mark.parametrize(
    ("dsn", "said", "heard"),
    [
        ("postgresql://u:secret@h/d", "failed for secret", "failed for ***"),
        ("postgresql://u:se%40cret@h/d", "host 'se@cret'", "host '***'"),
        ("postgresql://u:se@cret@h/d", "host 'cret@h'", "host '***@h'"),
        ("postgresql://u:se/cret@h/d", "port 'se', path cret", "port '***', path ***"),
        ("postgresql://u@h/d?password=secret&x=y", "no secret", "no ***"),
        ("host=h password=secret", "no secret", "no ***"),
        ("host=h password='two words'", "no two words", "no ***"),
        ("postgresql://u:p@h/d", "port of the map", "port of the map"),
        ("postgresql://u@h/d", "as it was", "as it was"),
    ],
)
def test_no_part_of_a_password_is_said(dsn: str, said: str, heard: str) -> None:
    assert without_passwords(said, dsn) == heard


@pytest.mark.parametrize(
    "dsn", ["hunter2", "host=h hunter2", "postgres://u:hunter2%zz@h/d", "postgres://u:hunter2@h/?no=1"]
)
def test_a_dsn_that_cannot_be_read_is_not_quoted(dsn: str) -> None:
    with pytest.raises(ConfigError, match="the DSN cannot be read: write postgresql://") as caught:
        check_dsn(dsn)
    assert "hunter2" not in str(caught.value)


def test_our_errors_are_their_message() -> None:
    failure = sentence(UnknownQueue("unknown queue 'x'"))
    assert isinstance(failure, Failure)
    assert failure.message == "unknown queue 'x'"
    assert failure.exit_code == 1


def test_a_bug_has_no_sentence() -> None:
    assert sentence(KeyError("x")) is None


def test_a_reader_who_left_is_no_failure_of_ours() -> None:
    assert sentence(BrokenPipeError()) is None


def test_a_full_disk_is_a_sentence() -> None:
    failure = sentence(OSError(28, "No space left on device"))
    assert failure is not None
    assert "No space left" in failure.message
