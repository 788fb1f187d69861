"""A handler is the function behind a task name: how it runs, and how arguments become its payload."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pgq.errors import InvalidOption, InvalidPayload, PayloadSealed
from pgq.payload import MAX_BYTES
from pgq.seal import Keys, key_of, without

ALERTS = "pgq.alerts"  # the queue of our own handler, which the app of a child process does not know
Kind = Literal["async", "thread", "process"]


@dataclass(frozen=True, slots=True)
class Function:
    """A registered function; `kind` is where it runs: on the event loop, in a thread, or in a child process."""

    name: str
    queue: str
    call: Callable[..., Any]
    kind: Kind
    signature: inspect.Signature
    names: frozenset[str]  # what it takes; nothing where it takes any name
    required: frozenset[str]
    defaults: Mapping[str, Any]
    keys: Keys | None = None  # seal what it is enqueued with

    def sealed(self, text: str) -> str:
        """Return a payload as it is stored. Raises InvalidPayload where it is too large sealed."""
        if self.keys is None:
            return text
        text = self.keys.seal(text, self.queue, self.name)
        if len(text) > MAX_BYTES:
            raise InvalidPayload(f"payload must be at most {MAX_BYTES} bytes when it is sealed, got {len(text)}")
        return text

    def opened(self, text: str) -> str:
        """Return a payload as it was before it was sealed. Raises PayloadSealed, InvalidPayload."""
        if self.keys is None:
            raise PayloadSealed(without(key_of(text) or ""))
        return self.keys.open(text, self.queue, self.name)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments as the payload: by name, as given. Raises InvalidPayload when they do not fit."""
        if not args and type(kwargs) is dict and self.required <= kwargs.keys() <= self.names:
            return kwargs  # binding by the signature costs nearly as much as encoding
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidPayload(f"arguments do not fit {self.name}{self.signature}: {error}") from None
        payload: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            if self.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                payload.update(value)
            else:
                payload[name] = value
        return payload


def function(call: Callable[..., Any], *, name: str, queue: str, process: bool, keys: Keys | None = None) -> Function:
    """Return a Function for `call`.

    Raises InvalidPayload when its arguments cannot be given by name, InvalidOption for a generator.
    """
    if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
        raise InvalidOption(f"task {name!r} is a generator function: calling it would run nothing")
    signature = inspect.signature(call)
    parameters = signature.parameters.values()
    for parameter in parameters:
        if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL}:
            raise InvalidPayload(f"task {name!r} takes {parameter}, which cannot be given by name")
    named = [parameter for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
    return Function(
        name=name,
        queue=queue,
        call=call,
        kind="process" if process else "async" if _is_async(call) else "thread",
        signature=signature,
        names=frozenset(parameter.name for parameter in named if len(named) == len(parameters)),
        required=frozenset(parameter.name for parameter in named if parameter.default is parameter.empty),
        defaults={parameter.name: parameter.default for parameter in named if parameter.default is not parameter.empty},
        keys=keys,
    )


def _is_async(call: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(type(call).__call__)
