"""The app: queues, limits and handlers by name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, overload

from pgq.db import Call, arun, run
from pgq.errors import ConfigError, InvalidOption, UnknownQueue, UnknownTask, shown
from pgq.handler import function
from pgq.options import Options, templates
from pgq.queue import Exponential, Fixed, Rate, Settings, check_name
from pgq.quota import KeyLimit
from pgq.seal import keys
from pgq.typed import Handler, P, R

if TYPE_CHECKING:  # they bring the Redis client, which programs that only enqueue do not need
    from pgq.permit import Doors, Permit


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
            known_as = str(getattr(target, "__name__", "")) if name is None else name
            found = function(target, name=known_as, queue=self.name, process=process, keys=self.app.payload_keys)
            return self.app.add(Handler(found, options, self.app.key_limits, templates(options, found)))

        return register if call is None else register(call)


class App:
    """Queues, limits and handlers of one application, by name.

    `path` says where child processes find it (`package.module:app`); the worker command fills it in. `redis_url`
    says where `limit` finds the limiter; without it that is PGQ_REDIS_URL. `payload_keys` (without it:
    PGQ_PAYLOAD_KEYS) seal the payloads of all its tasks; `id:base64,…`, the first seals, all open.
    Raises ConfigError for keys that are none.
    """

    def __init__(self, path: str = "", *, payload_keys: str | None = None) -> None:
        self.path = path
        self.payload_keys = keys(os.environ.get("PGQ_PAYLOAD_KEYS", "") if payload_keys is None else payload_keys)
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
        if check_name("queue", name) in self.queues:
            raise InvalidOption(f"queue {name!r} is declared twice")
        if not isinstance(rate_limit, Rate | None):
            raise InvalidOption(f"rate_limit of queue {name!r} must be a Rate, got {shown(rate_limit)}")
        if not isinstance(backoff, Fixed | Exponential):
            raise InvalidOption(f"backoff of queue {name!r} must be Fixed or Exponential, got {shown(backoff)}")
        settings = Settings(
            name=name,
            concurrency=concurrency,
            rate_max=rate_limit.max if rate_limit else None,
            rate_per=rate_limit.per if rate_limit else None,
            timeout=timeout,
            max_attempts=max_attempts,
            **_delays(backoff),
            keep_dead=keep_dead,
            retention=retention.total_seconds() if isinstance(retention, timedelta) else retention,
            on_limiter_down=on_limiter_down,
        )
        if settings.backoff == "fixed" and settings.delay > settings.max_delay:
            settings = replace(settings, max_delay=settings.delay)
        queue = self.queues[name] = Queue(self, settings)
        return queue

    def key_limit(self, name: str, *, rate: Rate | None = None, concurrency: int | None = None) -> KeyLimit:
        """Declare a kind of limit key, such as `customer`, and what all workers together may do for each key of it.

        `rate` limits the units that start, `concurrency` the tasks that run at once. Tasks that are under it name it
        in their `limit_key`. Raises InvalidOption for a value out of range or a limit declared twice.
        """
        if not isinstance(rate, Rate | None):
            raise InvalidOption(f"rate of limit {shown(name)} must be a Rate, got {shown(rate)}")
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

        if (kind := self.key_limits.get(check_name("limit", name))) is None:
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
                raise UnknownQueue(f"this app declares no queue {shown(name)}; it has {', '.join(self.queues)}")
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


def _delays(backoff: Fixed | Exponential) -> dict[str, Any]:
    """Return the settings of a queue that a backoff stands for."""
    kind, longest = ("exponential", backoff.cap) if isinstance(backoff, Exponential) else ("fixed", 86_400.0)
    return {"backoff": kind, "delay": backoff.delay, "max_delay": longest, "jitter": backoff.jitter}


def _declared(limit: KeyLimit) -> str:
    quota = limit.quota
    return json.dumps({"rate_max": quota.max, "rate_per": quota.per, "concurrency": quota.slots})
