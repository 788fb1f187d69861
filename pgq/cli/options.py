"""Options that several commands share, and the kinds of values they take."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any

import click

from pgq.errors import InvalidOption
from pgq.scale import Span

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


class FiniteRange(click.FloatRange):
    """A number within bounds; click's own takes NaN for one, which is neither below nor above any bound."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number. Raises BadParameter."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no finite number.", param, ctx)
        return number


def dsn(text: str) -> str:
    """Return a DSN as it is. Raises BadParameter for an empty one, else a variable not set chose another server."""
    if not text.strip():
        raise click.BadParameter("it is empty: leave it out, or write postgresql://user@host/database.")
    return text


dsn_option = click.option(
    "--dsn",
    type=dsn,
    metavar="URL",
    help="The database; default: PGQ_DSN, else DATABASE_URL, else the embedded one.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead.")
home_option = click.option(
    "--home", type=click.Path(file_okay=False), metavar="DIR", help="Where the servers keep their files."
)
limit_option = click.option(
    "--limit", type=click.IntRange(min=1, max=2**31), default=20, show_default=True, help="Rows at most."
)
task_id = click.IntRange(min=1, max=2**63 - 1)


def duration(text: str) -> float:
    """Return the seconds of 90, 500ms, 30s, 10m, 1.5h, 7d. Raises BadParameter."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d+)?|\.\d+)(ms|s|m|h|d|)", text.strip(), re.ASCII)
    if not found:
        raise click.BadParameter(f"{text!r} is no duration: write seconds, or 500ms, 30s, 10m, 2h, 7d.")
    return float(found[1]) * _UNITS[found[2]]


def rate_limit(text: str) -> tuple[int | None, float | None]:
    """Return how many starts in how many seconds, for 100/60s or 5/m; `none` is no limit. Raises BadParameter."""
    if text == "none":
        return None, None
    found = re.fullmatch(r"(\d{1,9})/(.+)", text, re.ASCII)
    if not found:
        raise click.BadParameter(f"{text!r} is no rate: write starts/time, such as 100/60s, or none.")
    window = found[2]
    return int(found[1]), duration(window if window[0].isdigit() else f"1{window}")


def count_or_none(text: str) -> tuple[int | None]:
    """Return a whole number, or None for `none`; in a tuple, since None means "not given". Raises BadParameter."""
    if text != "none" and not re.fullmatch(r"-?\d{1,9}", text, re.ASCII):
        raise click.BadParameter(f"{text!r} is neither a whole number nor none.")
    return (None if text == "none" else int(text),)


def moment(text: str) -> datetime:
    """Return the time of 2030-01-31T09:00:00Z. Raises BadParameter for one without a time zone."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no time: write it as 2030-01-31T09:00:00Z.") from None
    if when.utcoffset() is None:
        raise click.BadParameter(f"{text!r} has no time zone: end it with Z, or with +02:00.")
    return when


def span(text: str | Span) -> Span:
    """Return the number of processes that 4 or 2..16 stands for. Raises BadParameter."""
    try:
        return text if isinstance(text, Span) else Span.parse(text)
    except InvalidOption as error:
        raise click.BadParameter(f"{error}.") from None
