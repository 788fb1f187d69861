"""Exceptions that no handler should raise, for everything that has to tell of one."""

# ruff: noqa: E501 - long lists of errors

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class LoudError(Exception):
    """Its text cannot be had, in some way."""

    def __init__(self, said: Any) -> None:
        self.said = said

    def __str__(self) -> str:
        return self.said()


def raises(error: BaseException) -> Callable[[], Any]:
    def act() -> Any:
        raise error

    return act


def nested(levels: int) -> BaseException:
    error: BaseException = ValueError("innermost")
    for _ in range(levels):
        error = ExceptionGroup("g", [error])
    return error


def chained(links: int) -> BaseException:
    error = first = ValueError("first")
    for link in range(links):
        error.__cause__ = ValueError(str(link))
        error = error.__cause__
    return first


def noted(notes: Any) -> BaseException:
    error = ValueError("noted")
    error.__notes__ = notes
    return error


def looped() -> BaseException:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    return one


ERRORS = [
    LoudError(raises(RuntimeError("no"))), LoudError(raises(KeyboardInterrupt())), LoudError(raises(SystemExit(3))), LoudError(raises(RecursionError())),
    LoudError(lambda: None), LoudError(lambda: 7), LoudError(lambda: "\0\ud800" * 10), ValueError("x" * 10_000_000), ValueError("a\0b"), ValueError("\udfff"),
    nested(5), nested(3000), chained(3000), looped(), noted([1, None, "\0"]), noted(7), noted("text"), SystemExit(), KeyboardInterrupt(),
    StopIteration(3), GeneratorExit(), BaseExceptionGroup("b", [KeyboardInterrupt()]), KeyError("\n"), UnicodeDecodeError("u", b"x", 0, 1, "r"),
    type("Über\N{COMBINING ACUTE ACCENT}" * 500, (Exception,), {})("long name"), SyntaxError("bad", ("f", 1, 1, "x" * 100_000)), OSError(2, "\ud800"),
]  # fmt: skip
