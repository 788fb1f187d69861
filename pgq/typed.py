"""The typed object that a decorated function becomes: callable as before, and what enqueues it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, Literal, ParamSpec, TypeVar, Unpack, overload

from pgq import enqueue
from pgq.db import Call
from pgq.errors import InvalidOption, InvalidPayload
from pgq.handler import Function
from pgq.options import Choices, Options, check_limits, check_written, fill_keys
from pgq.payload import encode
from pgq.quota import KeyLimit

P = ParamSpec("P")
R = TypeVar("R")
Id = TypeVar("Id", int, int | None)  # what enqueue returns; None only where it may be skipped


class Handler(Generic[P, R, Id]):
    """A task's function, callable as before, with typed `enqueue` methods. Made by `@queue.task`."""

    def __init__(
        self, target: Function, options: Options, limits: Mapping[str, KeyLimit], unfilled: Sequence[str] = ()
    ) -> None:
        functools.update_wrapper(self, target.call)  # first: it may bring attributes of the same names
        check_limits(options, limits)
        self.function = target
        self._options = options
        self._limits = limits
        self._unfilled = unfilled

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here and now, without any queue."""
        result: R = self.function.call(*args, **kwargs)
        return result

    def __repr__(self) -> str:
        return f"<task {self.function.name} of queue {self.function.queue}>"

    def enqueue(self, conn: Any, /, *args: P.args, **kwargs: P.kwargs) -> Id:
        """Add one task in the transaction of `conn` and return its id (None when skipped).

        Raises InvalidPayload, InvalidOption, UnknownQueue, UniqueKeyTaken.
        """
        added: Id = enqueue.send(conn, self._one(args, kwargs))
        return added

    async def aenqueue(self, conn: Any, /, *args: P.args, **kwargs: P.kwargs) -> Id:
        """Do the same on an async connection."""
        added: Id = await enqueue.asend(conn, self._one(args, kwargs))
        return added

    def enqueue_many(self, conn: Any, payloads: Iterable[Mapping[str, Any]], /) -> list[int]:
        """Add one task per mapping of arguments, in one statement; returns their ids in that order."""
        call = self._many(payloads)
        ids: list[int] = enqueue.send(conn, call) if call.values["payloads"] else []
        return ids

    async def aenqueue_many(self, conn: Any, payloads: Iterable[Mapping[str, Any]], /) -> list[int]:
        """Do the same on an async connection."""
        call = self._many(payloads)
        ids: list[int] = await enqueue.asend(conn, call) if call.values["payloads"] else []
        return ids

    def copy(self, conn: Any, payloads: Iterable[Mapping[str, Any]], /) -> int:
        """Add very many tasks by COPY on a psycopg connection; returns how many. Nothing is added on an error."""
        return enqueue.copy(conn, self.function.queue, self.function.name, self._bodies(payloads), self._options)

    @overload
    def options(self, *, on_conflict: Literal["skip"], **options: Unpack[Choices]) -> Handler[P, R, int | None]: ...

    @overload
    def options(
        self, *, on_conflict: Literal["raise", "replace", "return_existing"], **options: Unpack[Choices]
    ) -> Handler[P, R, int]: ...

    @overload
    def options(self, **options: Unpack[Choices]) -> Handler[P, R, Id]: ...

    def options(self, **options: Any) -> Handler[P, R, Any]:
        """Return this handler with other options for what it enqueues next; seconds, aware datetimes.

        `unique_key` is held until the task ends. When it is taken, `on_conflict` says what happens: raise
        UniqueKeyTaken; skip (enqueue returns None); replace what waits; return_existing (the holder's id).
        `limit_key` (`kind:key`, or several; None: none) takes the place of the task's own, as it is written.
        """
        chosen = self._options.changed(**options)
        if "limit_key" not in options:
            return Handler(self.function, chosen, self._limits, self._unfilled)
        check_written(chosen, self.function)
        return Handler(self.function, chosen, self._limits)

    def _one(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        text, keys = self._body(args, kwargs)
        return enqueue.one(self.function.queue, self.function.name, text, self._options, keys)

    def _many(self, payloads: Iterable[Mapping[str, Any]]) -> Call:
        bodies = list(self._bodies(payloads))
        keys = [keys for _, keys in bodies if keys is not None] if self._unfilled else None
        return enqueue.many(self.function.queue, self.function.name, [text for text, _ in bodies], self._options, keys)

    def _bodies(self, payloads: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, list[str] | None]]:
        for place, payload in enumerate(payloads):
            try:
                yield self._body((), payload)
            except (InvalidPayload, InvalidOption) as error:
                raise type(error)(f"payload {place}: {error}") from None

    def _body(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, list[str] | None]:
        """Return the payload, and the limit keys that depend on it."""
        arguments = self.function.bind(args, kwargs)
        text = self.function.sealed(encode(arguments))
        return text, fill_keys(self._unfilled, self.function, arguments) if self._unfilled else None
