"""How pages write numbers, durations and times: the filters of the templates. `static/spoken.js` does the same."""

from __future__ import annotations

from datetime import UTC, datetime

NONE = "\u2013"  # a dash
_STEPS = (("d", 86_400), ("h", 3_600), ("m", 60))


def number(value: float | None) -> str:
    """Return 1,234; a dash for none."""
    return NONE if value is None else f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """Return 12 ms, 3.4 s, 5 m 10 s, 2 h 5 m, 3 d 4 h; a dash for none."""
    if seconds is None:
        return NONE
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004 - one digit more
    rest = int(seconds)
    parts: list[str] = []
    for unit, length in (*_STEPS, ("s", 1)):
        count, rest = divmod(rest, length)
        if count or parts:
            parts.append(f"{count} {unit}")
        if len(parts) == 2:  # noqa: PLR2004 - two are exact enough
            break
    return " ".join(part for part in parts if not part.startswith("0 "))


def moment(at: datetime | None) -> str:
    """Return 2030-01-31 09:00:00 in UTC; a dash for none."""
    return NONE if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def ago(at: datetime | None) -> str:
    """Return how long something is away: 5 m ago, in 3 h."""
    if at is None:
        return NONE
    away = (at - datetime.now(UTC)).total_seconds()
    if abs(away) < 1:
        return "now"
    return f"in {duration(away)}" if away > 0 else f"{duration(-away)} ago"


def size(count: int | None) -> str:
    """Return 12 kB, 3.4 GB."""
    value, unit = float(count or 0), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1_000:  # noqa: PLR2004 - the next unit
            break
        value, unit = value / 1_000, larger
    return f"{value:.1f} {unit}" if value < 10 and unit != "B" else f"{value:.0f} {unit}"  # noqa: PLR2004 - one digit more


def rate_limit(most: int | None, per: float | None) -> str:
    """Return 100 per 1 m."""
    return NONE if most is None or per is None else f"{most:,} per {duration(per)}"
