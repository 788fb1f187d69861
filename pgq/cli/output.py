"""What commands print: aligned tables and facts for people, one JSON document for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import click

WIDEST = 72  # characters of a cell in a table


def echo_json(document: Any) -> None:
    """Print one JSON document; times as ISO 8601."""
    import json

    click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=_plain))


def echo_table(rows: Sequence[Sequence[Any]], headings: Sequence[str], *, none: str) -> None:
    """Print rows under their headings; the sentence `none` when there are no rows."""
    click.echo(table(rows, headings) if rows else none)


def table(rows: Sequence[Sequence[Any]], headings: Sequence[str]) -> str:
    """Return rows under their headings, in columns; columns of numbers are aligned to the right."""
    cells = [list(headings), *([_short(cell(value)) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numeric = [all(_is_number(value) for value in column) for column in zip(*rows, strict=True)]
    lines = (zip(line, widths, numeric, strict=True) for line in cells)
    return "\n".join("  ".join(_pad(*part) for part in line).rstrip() for line in lines)


def echo_facts(facts: Mapping[str, Any]) -> None:
    """Print names and values, one a line."""
    width = max(map(len, facts))
    for name, value in facts.items():
        click.echo(f"{name:{width}}  {cell(value)}")


def cell(value: Any) -> str:
    """Return a value as text for people: one line, nothing that a terminal would act upon."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.isoformat(" ", "seconds")
        case float():
            return f"{value:.10g}"
        case _:
            return one_line(str(value))


def one_line(text: str) -> str:
    """Return text with spaces for whatever is not printable."""
    return printable(text).replace("\n", " ")


def printable(text: str) -> str:
    """Return text with spaces for whatever is neither printable nor the end of a line."""
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)


def seconds(value: float | None) -> str | None:
    """Return a duration as people write it: 1.5s, 10m, 7d."""
    if value is None:
        return None
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if value >= length and value % length == 0:
            return f"{value // length:g}{unit}"
    return f"{value:g}s" if value < 1_000 else f"{value:.0f}s"  # noqa: PLR2004 - no 1e+06s


def about(seconds: float | None) -> str | None:
    """Return how long something has been going on, roughly: 0s, 59s, 12m, 3h, 2d."""
    if seconds is None:
        return None
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f}{unit}"
    return f"{seconds:.0f}s"


def count(number: int, thing: str) -> str:
    """Return a number of things: 1 task, 2 tasks."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def names(things: Iterable[object]) -> str:
    """Return things in a row: a, b, c."""
    return ", ".join(map(str, things))


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _short(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def _pad(text: str, width: int, to_the_right: bool) -> str:
    return text.rjust(width) if to_the_right else text.ljust(width)
