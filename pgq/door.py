"""The ways from an app to the limiter's server: one for all threads of a process, one for each event loop.

Each has a client, a book of what is held through it, and a keeper that renews that: a daemon thread or a task, there
only while something is held.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from pgq.config import Config
from pgq.errors import ConfigError
from pgq.limiter import RedisError, acall, aclose, aconnect_redis, call, connect_redis, one_root
from pgq.renewal import BEAT, Book, Step, Talk
from pgq.script import Verb

T = TypeVar("T")


L = TypeVar("L", threading.Lock, asyncio.Lock)


class Way(Generic[L]):
    """What both ways have: the book of what is held, a client once it is needed, a line for each key."""

    def __init__(self, config: Config) -> None:
        self.book = Book(config.limit_prefix)
        self._url = config.redis_url
        self._client: Any = None
        self._lines: WeakValueDictionary[str, L] = WeakValueDictionary()

    def crowded(self, key: str) -> bool:
        """Whether somebody waits for this key already."""
        line = self._lines.get(key)
        return line is not None and line.locked()


class Door(Way[threading.Lock]):
    """The way of the threads of one process."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._guard = threading.Lock()
        self._keeper: threading.Thread | None = None

    def run(self, talk: Talk[T]) -> T:
        """Hold a talk; returns what it comes to."""
        try:
            step = next(talk)
            while True:
                try:
                    reply = self._take(step)
                except RedisError as error:
                    step = talk.throw(error)
                else:
                    step = talk.send(reply)
        except StopIteration as end:
            result: T = end.value
            return result

    @contextmanager
    def line(self, key: str, seconds: float | None) -> Iterator[None]:
        """Stand in line behind those of this process that wait for the same key, at most some seconds."""
        line = self._lines.setdefault(key, threading.Lock())
        first = line.acquire(timeout=-1 if seconds is None else seconds)
        try:
            yield
        finally:
            if first:
                line.release()

    def keep(self) -> None:
        """Make sure that what is held is renewed."""
        with self._guard:
            if self.book.busy and not (self._keeper and self._keeper.is_alive()):
                self._keeper = threading.Thread(target=self._keep, name="pgq-permits", daemon=True)
                self._keeper.start()

    def _keep(self) -> None:
        while self._needed():
            time.sleep(BEAT)
            self.run(self.book.beat())

    def _needed(self) -> bool:
        with self._guard:
            if not self.book.busy:
                self._keeper = None
            return self.book.busy

    def _take(self, step: Step) -> Any:
        if isinstance(step, float):
            return time.sleep(step)
        self._client = self._client or connect_redis(self._url)
        with one_root():
            reply = call(self._client, step) if isinstance(step, Verb) else self._client.execute_command(*step.words)
        self.book.heard()
        return reply


class LoopDoor(Way[asyncio.Lock]):
    """The way of the tasks of one event loop."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._keeper: asyncio.Task[None] | None = None

    async def run(self, talk: Talk[T]) -> T:
        """Hold a talk; returns what it comes to."""
        try:
            step = next(talk)
            while True:
                try:
                    reply = await self._take(step)
                except RedisError as error:
                    step = talk.throw(error)
                else:
                    step = talk.send(reply)
        except StopIteration as end:
            result: T = end.value
            return result

    @asynccontextmanager
    async def line(self, key: str, seconds: float | None) -> AsyncIterator[None]:
        """Stand in line behind those of this loop that wait for the same key, at most some seconds."""
        line, first = self._lines.setdefault(key, asyncio.Lock()), False
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                first = await line.acquire()
        try:
            yield
        finally:
            if first:
                line.release()

    def keep(self) -> None:
        """Make sure that what is held is renewed."""
        if self.book.busy and (self._keeper is None or self._keeper.done()):
            # In an empty context: it must not keep alive what belongs to the request that happened to start it.
            keep = self._keep()
            self._keeper = asyncio.get_running_loop().create_task(keep, context=contextvars.Context())

    async def close(self) -> None:
        """Close the connections."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._client is not None:
            await aclose(self._client)

    async def _keep(self) -> None:
        while self.book.busy:
            await asyncio.sleep(BEAT)
            await self.run(self.book.beat())

    async def _take(self, step: Step) -> Any:
        if isinstance(step, float):
            return await asyncio.sleep(step)
        self._client = self._client or aconnect_redis(self._url)
        task = asyncio.current_task()
        cancelled = task.cancelling() if task else 0
        sent = acall(self._client, step) if isinstance(step, Verb) else self._client.execute_command(*step.words)
        with one_root():
            reply = await sent
        if task and task.cancelling() > cancelled:
            # The client uses asyncio.wait_for, which before Python 3.12 loses a cancellation that comes as it ends.
            raise asyncio.CancelledError
        self.book.heard()
        return reply


class Doors:
    """The doors of one app, each made when it is first used."""

    def __init__(self) -> None:
        self._threads: dict[tuple[int, str], Door] = {}  # a forked child has its own
        self._loops: dict[tuple[asyncio.AbstractEventLoop, str], tuple[LoopDoor, AsyncGenerator[None]]] = {}

    def here(self, url: str) -> Door:
        """Return the door of this process; an empty URL stands for PGQ_REDIS_URL. Raises ConfigError."""
        place = os.getpid(), url
        return self._threads.get(place) or self._threads.setdefault(place, Door(_config(url)))

    async def ahere(self, url: str) -> LoopDoor:
        """Return the door of the running event loop; an empty URL stands for PGQ_REDIS_URL. Raises ConfigError."""
        place = asyncio.get_running_loop(), url
        if (found := self._loops.get(place)) is None:
            for known in list(self._loops):
                if known[0].is_closed():  # without a goodbye
                    self._loops.pop(known, None)
            door = LoopDoor(_config(url))
            found = self._loops[place] = door, self._life(place, door)
            await anext(found[1])
        return found[0]

    async def _life(self, place: tuple[asyncio.AbstractEventLoop, str], door: LoopDoor) -> AsyncGenerator[None]:
        """Wait for the end of the loop: it closes every generator that was begun in it, after all tasks have ended."""
        try:
            yield
        finally:
            self._loops.pop(place, None)
            await door.close()


def _config(url: str) -> Config:
    config = Config.load(redis_url=url or None)
    if not config.redis_url:
        raise ConfigError("no limiter: set PGQ_REDIS_URL, or redis_url of the app")
    return config
