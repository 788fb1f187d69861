"""Values that nobody means to give, for every place where a caller's value is checked."""

# ruff: noqa: E501 - long lists of values

from __future__ import annotations

import enum
import sys
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st


class Rude:
    """Whatever it is asked, it raises."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


class Vague:
    """As an array: comparing it gives no answer, and it can be a number."""

    def __eq__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise ValueError("the truth value is ambiguous")

    def __float__(self) -> float:
        return 1.0

    def __index__(self) -> int:
        return 1

    __hash__ = None
    __lt__ = __le__ = __gt__ = __ge__ = __eq__


class NoZone(tzinfo):
    def utcoffset(self, when: Any) -> Any:  # noqa: ARG002
        return timedelta(days=3)


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Number(int):
    def __str__(self) -> str:
        return "NaN"


class Real(float):
    pass


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    THREE = 3


def cycle() -> list[Any]:
    found: list[Any] = [{}]
    found[0]["again"] = found
    return found


def deep(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


TEXTS = [
    "", " ", "\0", "a\0b", "\ud800", "\udc00\ud800", "a\nb", "a\r\nb", "'", '"', "\\", "%s", "{}", "$1", "--", ";", "\u202e", "\u0301" * 30,
    "👩‍👩‍👧", "ﷺ", "é" * 63, "x" * 63, "x" * 64, "x" * 101, "x" * 501, "x" * 100_000, "select", "../../etc/passwd", "NaN", "infinity",
    "\x1b[2J", "\u2028", "İ", "ß", "queue:jobs", "a:b", ":", "a:", ":b", Text("text"), Colour.RED,
]  # fmt: skip
NUMBERS = [
    0, -1, 1, 11, 2**31 - 1, 2**31, -(2**31), 2**63, 10**400, -(10**5000), 10**5000, True, False, 0.0, -0.0, 0.5, 5e-324, 1e9, 1e10,
    1e300, 1e308, sys.float_info.max, float("nan"), float("inf"), float("-inf"), Number(3), Real(2.5), Level.THREE,
    Decimal(3), Decimal("NaN"), Decimal("1e400"), Fraction(1, 3), 1j,
]  # fmt: skip
TIMES = [
    datetime.min, datetime.max, datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC),  # noqa: DTZ901
    datetime.max.replace(tzinfo=timezone(timedelta(hours=-23))), datetime.min.replace(tzinfo=timezone(timedelta(hours=23))),
    datetime(9998, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-1))), datetime(2030, 1, 1, tzinfo=NoZone()), date(2030, 1, 1),
    datetime(1970, 1, 1, tzinfo=UTC), datetime(2030, 1, 1), timedelta.max, timedelta.min, timedelta(0), timedelta(seconds=1),  # noqa: DTZ001
]  # fmt: skip
THINGS = [
    None, b"bytes", bytearray(b"x"), memoryview(b"x"), {1, 2}, frozenset(), (), (1, 2), [], {}, {1: 2}, [None], ["a:b", None], range(3),
    object(), Rude(), Vague(), [Rude()], {"a": Rude()}, cycle(), deep(150), deep(5000), int, len, Ellipsis, NotImplemented,
    iter([1]), ValueError("x"),
]  # fmt: skip
ALL = [*TEXTS, *NUMBERS, *TIMES, *THINGS]


def hostile(place: int) -> Any:
    return ALL[place]


# By their places: hypothesis asks what it chooses from for its repr and its hash, and some raise.
ANYTHING = st.integers(0, len(ALL) - 1).map(hostile) | st.text(st.characters()) | st.integers() | st.floats()


def hashable(value: Any) -> bool:
    try:
        hash(value)
    except Exception:  # noqa: BLE001 - some raise what no hash should
        return False
    return True


def is_one_sentence(error: BaseException) -> bool:
    """Return whether an error is fit to be shown: one line, not long, writable anywhere."""
    said = str(error)
    return "\n" not in said and 5 < len(said) <= 600 and bool(said.encode())
