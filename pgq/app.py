"""The app: queues, limits and handlers by name, and the typed object that a decorated function becomes."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, Unpack, overload

from pgq import enqueue
from pgq.db import Call, arun, run
from pgq.errors import ConfigError, InvalidOption, InvalidPayload, UnknownQueue, UnknownTask
from pgq.handler import Function, function
from pgq.options import Choices, Options, check_limits, check_written, fill_keys, templates
from pgq.payload import encode
from pgq.queue import Exponential, Fixed, Rate, Settings, check_name
from pgq.quota import KeyLimit

if TYPE_CHECKING:  # they bring the Redis client, which programs that only enqueue do not need
    from pgq.permit import Doors, Permit

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
        text = encode(arguments)
        return text, fill_keys(self._unfilled, self.function, arguments) if self._unfilled else None


class Queue:
    """A declared queue; its `task` decorator registers handlers. Made by `App.queue`."""

    def __init__(self, app: App, settings: Settings) -> None:
        self.app = app
        self.settings = settings

    @property
    def name(self) -> str:
        """The queue's name."""
        return self.settings.name

    @overload
    def task(self, call: Callable[P, R], /) -> Handler[P, R, int]: ...

    @overload
    def task(
        self, /, *, name: str | None = ..., process: bool = ..., priority: int = ..., max_attempts: int | None = ...,
        timeout: float | None = ..., limit_key: str | Sequence[str] | None = ..., weight: int = ...,
    ) -> Callable[[Callable[P, R]], Handler[P, R, int]]: ...  # fmt: skip

    def task(
        self, call: Callable[..., Any] | None = None, /, *, name: str | None = None, process: bool = False,
        priority: int = 5, max_attempts: int | None = None, timeout: float | None = None,
        limit_key: str | Sequence[str] | None = None, weight: int = 1,
    ) -> Any:  # fmt: skip
        """Register a function as a task of this queue, under its own name or `name`.

        `async def` runs on the event loop, `def` in a thread, `process=True` in a child process that is killed at
        the timeout. `priority`, `max_attempts` and `timeout` (seconds) become this task's defaults, and so do
        `limit_key`, the limits it is under (`"customer:{customer}"`: of the customer it is for; or several), and
        `weight`, the units it takes of each.
        """
        options = Options(
            priority=priority, max_attempts=max_attempts, timeout=timeout, limit_key=limit_key, weight=weight
        )

        def register(target: Callable[..., Any]) -> Handler[Any, Any, int]:
            if isinstance(target, Handler):  # one function may be a task of several queues, under several names
                target = target.function.call
            known_as = name or str(getattr(target, "__name__", ""))
            found = function(target, name=known_as, queue=self.name, process=process)
            return self.app.add(Handler(found, options, self.app.key_limits, templates(options, found)))

        return register if call is None else register(call)


class App:
    """Queues, limits and handlers of one application, by name.

    `path` says where child processes find it (`package.module:app`); the worker command fills it in. `redis_url`
    says where `limit` finds the limiter; without it that is PGQ_REDIS_URL.
    """

    def __init__(self, path: str = "") -> None:
        self.path = path
        self.redis_url = ""
        self._doors: Doors | None = None
        self.queues: dict[str, Queue] = {}
        self.key_limits: dict[str, KeyLimit] = {}
        self.handlers: dict[str, Handler[Any, Any, int]] = {}

    def queue(
        self,
        name: str,
        *,
        concurrency: int | None = None,
        rate_limit: Rate | None = None,
        timeout: float = 60.0,
        max_attempts: int = 5,
        backoff: Fixed | Exponential = Exponential(5.0),  # noqa: B008 - a frozen value
        keep_dead: bool = True,
        retention: float | timedelta = timedelta(days=7),
        on_limiter_down: Literal["wait", "run"] = "wait",
    ) -> Queue:
        """Declare a queue and return it. Times are seconds; see `Settings` for what each setting means.

        Raises InvalidOption for a value out of range or a queue declared twice.
        """
        if name in self.queues:
            raise InvalidOption(f"queue {name!r} is declared twice")
        settings = Settings(
            name=check_name("queue", name),
            concurrency=concurrency,
            rate_max=rate_limit.max if rate_limit else None,
            rate_per=float(rate_limit.per) if rate_limit else None,
            timeout=float(timeout),
            max_attempts=max_attempts,
            backoff="exponential" if isinstance(backoff, Exponential) else "fixed",
            delay=float(backoff.delay),
            max_delay=float(backoff.cap) if isinstance(backoff, Exponential) else max(float(backoff.delay), 86_400.0),
            jitter=float(backoff.jitter),
            keep_dead=keep_dead,
            retention=retention.total_seconds() if isinstance(retention, timedelta) else float(retention),
            on_limiter_down=on_limiter_down,
        )
        queue = self.queues[name] = Queue(self, settings)
        return queue

    def key_limit(self, name: str, *, rate: Rate | None = None, concurrency: int | None = None) -> KeyLimit:
        """Declare a kind of limit key, such as `customer`, and what all workers together may do for each key of it.

        `rate` limits the units that start, `concurrency` the tasks that run at once. Tasks that are under it name it
        in their `limit_key`. Raises InvalidOption for a value out of range or a limit declared twice.
        """
        if not isinstance(rate, Rate | None):
            raise InvalidOption(f"rate of limit {name!r} must be a Rate, got {rate!r:.80}")
        limit = KeyLimit.declare(name, rate, concurrency)
        if name in self.key_limits:
            raise InvalidOption(f"limit {name!r} is declared twice")
        self.key_limits[name] = limit
        return limit

    def limit(
        self,
        name: str,
        *,
        key: str,
        weight: int = 1,
        timeout: float | None = None,
        hold: float = 60.0,
        on_down: Literal["raise", "wait", "run"] = "raise",
    ) -> Permit:
        """Return a permit for `with` or `async with`, of the limit that tasks with this `limit_key` are under.

        That is f"{name}:{key}"; a permit takes `weight` units of its rate. Entering waits at most `timeout` seconds
        (None: for ever; 0: not at all), then raises LimitExceeded; at once where it is certain to take longer.
        While the limiter is away, `on_down` says to raise LimiterDown, to wait (and raise it at the timeout), or to
        run without a permit. What a process held when it died is free again after `hold` seconds.
        Raises InvalidOption for a limit that is not declared; entering raises ConfigError without a Redis URL.
        """
        from pgq.permit import Doors, Permit, Terms  # noqa: PLC0415 - see above

        if (kind := self.key_limits.get(name)) is None:
            raise InvalidOption(f"no limit {name!r} is declared, this app has: {', '.join(self.key_limits) or 'none'}")
        if self._doors is None:
            self._doors = Doors()
        terms = Terms.of(kind, key, weight=weight, timeout=timeout, hold=hold, on_down=on_down)
        return Permit(self._doors, self.redis_url, terms)

    def add(self, handler: Handler[Any, Any, int]) -> Handler[Any, Any, int]:
        """Register a handler. Raises InvalidOption when its name is taken or no name."""
        name = check_name("task", handler.function.name)
        if name in self.handlers:
            raise InvalidOption(f"task {name!r} is declared twice")
        self.handlers[name] = handler
        return handler

    def handler(self, name: str) -> Handler[Any, Any, int]:
        """Return the handler of a task name. Raises UnknownTask."""
        try:
            return self.handlers[name]
        except KeyError:
            raise UnknownTask(f"no task {name!r} in this app; it has {', '.join(self.handlers) or 'none'}") from None

    def served(self, names: Iterable[str] | None = None) -> dict[str, Queue]:
        """Return the declared queues of these names, all of them for None. Raises UnknownQueue, ConfigError."""
        if not self.queues:
            raise ConfigError("this app declares no queue")
        wanted = list(self.queues) if names is None else list(names)
        for name in wanted:
            if name not in self.queues:
                raise UnknownQueue(f"this app declares no queue {name!r}; it has {', '.join(self.queues)}")
        return {name: self.queues[name] for name in wanted}

    def declare(self, conn: Any) -> list[str]:
        """Write the declared queues and limits in the transaction of `conn`; returns what changed.

        That is the names of queues, and of limits as `limit customer`. One is written when it is new or its
        declaration changed since it was last written, so that what was changed live stays.
        """
        return [row[0] for call in self.declarations() for row in run(conn, call)]

    async def adeclare(self, conn: Any) -> list[str]:
        """Do the same on an async connection."""
        return [row[0] for call in self.declarations() for row in await arun(conn, call)]

    def declarations(self) -> list[Call]:
        """Return one statement per declared queue, then per limit, by name (so that two syncs cannot deadlock)."""
        queues = [(name, queue.settings.declared()) for name, queue in sorted(self.queues.items())]
        limits = [(name, _declared(limit)) for name, limit in sorted(self.key_limits.items())]
        return [
            *(Call("declare", {"name": name, "declared": declared}) for name, declared in queues),
            *(Call("declare_limit", {"name": name, "declared": declared}) for name, declared in limits),
        ]


def _declared(limit: KeyLimit) -> str:
    quota = limit.quota
    return json.dumps({"rate_max": quota.max, "rate_per": quota.per, "concurrency": quota.slots})
