"""Functions behind task names: how they run, and how arguments become a payload."""

from __future__ import annotations

from typing import Any

import pytest

from pgq.errors import InvalidOption, InvalidPayload
from pgq.handler import Function, function


def make(call: Any, *, process: bool = False) -> Function:
    return function(call, name="work", queue="q", process=process)


def send(to: str, subject: str = "hello", *, copies: int = 1) -> None: ...


def anything(**fields: Any) -> None: ...


def some(to: str, **fields: Any) -> None: ...


async def later(to: str) -> None: ...


@pytest.mark.parametrize(
    ("call", "args", "kwargs", "payload"),
    [
        (send, ("a",), {}, {"to": "a"}),
        (send, ("a", "b"), {"copies": 2}, {"to": "a", "subject": "b", "copies": 2}),
        (send, (), {"to": "a"}, {"to": "a"}),
        (send, (), {"copies": 3, "to": "a"}, {"to": "a", "copies": 3}),
        (anything, (), {"x": 1, "fields": 2}, {"x": 1, "fields": 2}),
        (anything, (), {}, {}),
        (some, ("a",), {"x": 1}, {"to": "a", "x": 1}),
        (some, (), {"x": 1, "to": "a"}, {"to": "a", "x": 1}),
    ],
)
def test_arguments_become_a_payload_by_name(call: Any, args: Any, kwargs: Any, payload: dict[str, Any]) -> None:
    assert make(call).bind(args, kwargs) == payload


@pytest.mark.parametrize(
    ("call", "args", "kwargs"),
    [
        (send, (), {}),
        (send, ("a", "b", "c"), {}),
        (send, ("a",), {"to": "b"}),
        (send, ("a",), {"cc": "b"}),
        (send, (), {"subject": "b"}),
        (some, (), {"x": 1}),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_the_signature(call: Any, args: Any, kwargs: Any) -> None:
    with pytest.raises(InvalidPayload, match=r"arguments do not fit work\(to"):
        make(call).bind(args, kwargs)


def test_where_a_function_runs_follows_from_what_it_is() -> None:
    assert [make(send).kind, make(later).kind, make(send, process=True).kind, make(later, process=True).kind] == [
        "thread",
        "async",
        "process",
        "process",
    ]


def test_an_object_with_an_async_call_runs_on_the_loop() -> None:
    class Sender:
        async def __call__(self, to: str) -> None: ...

    assert make(Sender()).kind == "async"


def positional(a: int, /) -> None: ...


def several(*args: int) -> None: ...


@pytest.mark.parametrize("call", [positional, several])
def test_arguments_that_cannot_be_given_by_name_are_refused_when_declared(call: Any) -> None:
    with pytest.raises(InvalidPayload, match=r"task 'work' takes .*, which cannot be given by name"):
        make(call)


def test_a_generator_is_refused_when_declared() -> None:
    def numbers() -> Any:
        yield 1

    async def more() -> Any:
        yield 1

    for call in (numbers, more):
        with pytest.raises(InvalidOption, match="generator"):
            make(call)
