"""Tables for people, one JSON document for programs."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from pgq.cli import output


def test_columns_are_aligned_and_numbers_stand_to_the_right() -> None:
    lines = output.table([(7, "email", 1.5), (1234, "pdf", None)], ("ID", "QUEUE", "AGE")).splitlines()
    assert lines == [
        "  ID  QUEUE  AGE",
        "   7  email  1.5",
        "1234  pdf      -",
    ]  # fmt: skip


def test_no_line_of_a_table_ends_in_blanks() -> None:
    assert output.table([("a", "long value"), ("b", "x")], ("N", "V")).splitlines()[2] == "b  x"


def test_a_long_cell_is_cut_with_a_mark() -> None:
    line = output.table([("x" * 500,)], ("ERROR",)).splitlines()[1]
    assert len(line) == output.WIDEST
    assert line.endswith("…")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (False, "no"),
        (604800.0, "604800"),
        (0.5, "0.5"),
        (datetime(2030, 1, 31, 9, 0, 0, 5, UTC), "2030-01-31 09:00:00+00:00"),
        ("two\nlines", "two lines"),
        ("\x1b[31mred\x9b\x07", " [31mred  "),
        ("größe 漢字", "größe 漢字"),
    ],
)
def test_a_cell_is_one_line_that_no_terminal_acts_upon(value: object, text: str) -> None:
    assert output.cell(value) == text


def test_printable_text_keeps_its_lines() -> None:
    assert output.printable("a\n\tb\x1b") == "a\n b "


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, None), (0, "0s"), (0.1, "0.1s"), (90, "90s"), (120, "2m"), (3600, "1h"), (604800, "7d"), (1e6, "1000000s")],
)
def test_a_duration_is_written_as_people_write_it(seconds: float | None, text: str | None) -> None:
    assert output.seconds(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, None), (0.4, "0s"), (119, "119s"), (720, "12m"), (90_000, "25h"), (200_000, "2d")]
)
def test_an_age_is_rough(seconds: float | None, text: str | None) -> None:
    assert output.about(seconds) == text


def test_a_document_is_json_with_times_as_iso_8601(capsys: pytest.CaptureFixture[str]) -> None:
    output.echo_json([{"at": datetime(2030, 1, 31, 9, tzinfo=UTC), "payload": {"größe": [1, 2.5, None]}}])
    assert json.loads(capsys.readouterr().out) == [
        {"at": "2030-01-31T09:00:00+00:00", "payload": {"größe": [1, 2.5, None]}}
    ]


def test_an_empty_table_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    output.echo_table([], ("ID",), none="There is nothing.")
    assert capsys.readouterr().out == "There is nothing.\n"


@pytest.mark.parametrize(("number", "text"), [(0, "0 tasks"), (1, "1 task"), (2, "2 tasks")])
def test_things_are_counted_in_words(number: int, text: str) -> None:
    assert output.count(number, "task") == text
