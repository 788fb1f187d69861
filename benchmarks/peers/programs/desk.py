"""What the programs of all Python peers share: orders on stdin, answers on stdout, and the notes of their handlers.

A program runs as `python -m benchmarks.peers.programs.<peer> <role>`, its order the first line on stdin:

    install  makes the schema and the queue in a fresh database
    work     says ready, works from the line "go" on, answers "count" with how many handlers began, ends at "stop"
    produce  says ready, then answers ["bulk", first, tasks], ["single", first, seconds] and ["gaps", first, tasks]

Only the standard library: it runs in the environment of every peer. `desk.mjs` is its like for Node.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import os
import random
import sys
import threading
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic, monotonic_ns
from typing import Any

BULK = 1_000  # tasks a call
GAP = (0.02, 0.08)  # seconds between single tasks for an idle worker

Order = dict[str, Any]
executed = array("q")  # `i` of every execution in this process, in order
started_at = array("q")  # when each began, nanoseconds of CLOCK_MONOTONIC, which all processes of a host share

# Nobody else knows these: what a library prints goes to stderr, and a child that is forked while a thread waits for
# an order does not wait for the lock of stdin.
_orders, _answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
os.dup2(2, 1)


def note(i: int) -> None:
    """Note that task `i` begins: the whole handler of every peer."""
    executed.append(i)
    started_at.append(monotonic_ns())


@dataclass(frozen=True, slots=True)
class Door:
    """A peer's ways to enqueue: one task numbered `i`, committed at the return; and a call's worth of them at once."""

    single: Callable[[int], Awaitable[object]]
    bulk: Callable[[Sequence[int]], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Program:
    """The roles of one peer; `work` runs until its event is set, and is none where it cannot run on a loop."""

    install: Callable[[Order], Coroutine[Any, Any, None]]
    door: Callable[[Order], AbstractAsyncContextManager[Door]]
    work: Callable[[Order, asyncio.Event], Coroutine[Any, Any, None]] | None = None

    def main(self) -> None:
        """Play the role of the command line."""
        roles = {"install": self.install, "produce": self._produce}
        if self.work:
            roles["work"] = partial(self._work, self.work)
        order = hear()
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(roles[sys.argv[1]](order))

    async def _work(self, work: Callable[[Order, asyncio.Event], Awaitable[None]], order: Order) -> None:
        say("ready")
        await asyncio.to_thread(hear)  # "go"
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        threading.Thread(target=answer, args=(lambda: loop.call_soon_threadsafe(stop.set),), daemon=True).start()
        await work(order, stop)
        write(order["notes"], executed, started_at)
        say(len(executed))

    async def _produce(self, order: Order) -> None:
        async with self.door(order) as door:
            say("ready")
            while (command := await asyncio.to_thread(hear)) != "stop":
                say(await produce(door, *command))


def answer(stop: Callable[[], object], count: Callable[[], int] = lambda: len(executed)) -> None:
    """Answer the harness until it says stop; runs in a thread of its own."""
    while hear() != "stop":
        say(count())
    stop()


async def produce(door: Door, how: str, first: int, much: float) -> Any:
    """Enqueue as told; returns the seconds, tasks and seconds, or when each call began (nanoseconds)."""
    began = monotonic()
    if how == "bulk":
        last = first + int(much)
        for i in range(first, last, BULK):
            await door.bulk(range(i, min(i + BULK, last)))
        return monotonic() - began
    if how == "single":
        tasks = 0
        while monotonic() < began + much:
            await door.single(first + tasks)
            tasks += 1
        return [tasks, monotonic() - began]
    return [at async for at in with_gaps(door, first, int(much))]


async def with_gaps(door: Door, first: int, tasks: int) -> AsyncIterator[int]:
    """Enqueue one by one with random gaps; yields when each call began (nanoseconds)."""
    for i in range(first, first + tasks):
        await asyncio.sleep(random.uniform(*GAP))
        at = monotonic_ns()
        await door.single(i)
        yield at


def write(path: str, *notes: array[int]) -> None:
    """Write notes as they lie in memory, one array after the other."""
    with Path(path).open("wb") as file:
        for values in notes:
            values.tofile(file)


def hear() -> Any:
    """Wait for one line; the harness that is gone counts as one that says stop."""
    line = _orders.readline()
    return json.loads(line) if line else "stop"


def say(message: Any) -> None:
    """Say one line."""
    _answers.write(json.dumps(message) + "\n")
    _answers.flush()


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's event loop where it is installed."""
    if importlib.util.find_spec("uvloop") is None:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module("uvloop").new_event_loop
    return factory
