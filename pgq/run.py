"""Fourth stage of the line: a claimed task becomes an outcome. It never writes to the database.

Coroutines run on the event loop, plain functions in threads, `process` handlers in child processes. A task that was
held by a process that died runs in a child process too, whatever its kind: if it is the one that kills, it kills only
that child.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import json
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import Any, Literal

from pgq.children import Children
from pgq.context import CURRENT, Context
from pgq.handler import Function, Kind
from pgq.task import (
    Cancelled,
    Dead,
    Done,
    Failed,
    HandBack,
    Outcome,
    RateLimited,
    Recorded,
    Retry,
    Snooze,
    Task,
    failure,
)
from pgq.threads import Threads

_scan = json.JSONDecoder().raw_decode
Stop = Literal["cancel", "timeout", "shutdown", "lost"]


class Run:
    """One attempt in progress: where it runs, until when, and why it was told to stop, if it was."""

    __slots__ = ("context", "function", "kind", "slot", "started_at", "stop", "task")

    def __init__(self, task: Task, function: Function, kind: Kind, slot: asyncio.Task[None]) -> None:
        self.task = task
        self.function = function
        self.kind = kind
        self.slot = slot
        self.context = Context(task)
        self.started_at = monotonic()
        self.stop: Stop | None = None

    def end(self, reason: Stop) -> None:
        """Tell the run to stop, once. A coroutine or child is stopped; a thread can only be asked."""
        if self.stop is None:
            self.stop = reason
            self.context.cancel()
            if self.kind != "thread":
                self.slot.cancel(reason)


class Runner:
    """Runs tasks by the registry's handlers; `running` is what runs now, by id."""

    def __init__(
        self, functions: Mapping[str, Function], children: Children, may_start: Callable[[Task], Awaitable[bool]]
    ) -> None:
        self._may_start = may_start
        self.functions = functions
        self.running: dict[int, Run] = {}
        self._threads = Threads()
        self._children = children

    async def run(self, task: Task, slot: asyncio.Task[None]) -> Outcome:
        """Run one task to its outcome inside `slot`. Raises CancelledError only when the slot itself is to end."""
        function = self.functions[task.task]
        run = Run(task, function, self._kind(task, function), slot)
        self.running[task.id] = run
        token = CURRENT.set(run.context)
        try:
            value = await self._call(run)
        except asyncio.CancelledError as error:
            if run.stop is None and slot.cancelling():
                raise
            return _stopped(run, error)
        except RateLimited as limited:
            return limited
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is its failed attempt
            return _stopped(run, error)
        except (SystemExit, KeyboardInterrupt) as error:
            return _stopped(run, error)
        finally:
            CURRENT.reset(token)
            self._forget(run)
        if asyncio.iscoroutine(value):
            value.close()
            return Failed(f"{run.function.name} returned a coroutine: declare it with async def")
        if isinstance(value, Retry | Snooze | Dead | Failed | HandBack | RateLimited | Recorded):
            return value  # after complete_in too: its commit may have failed, and if not, the lease is gone
        return Recorded() if run.context.completed else Done()

    def close(self) -> None:
        """Let go of the threads; those still busy end with the process."""
        self._threads.close()

    def _kind(self, task: Task, function: Function) -> Kind:
        return "process" if task.crashes and self._children.possible else function.kind

    def _forget(self, run: Run) -> None:
        # A thread that overran its time may end when its task runs here again: that is another run.
        if self.running.get(run.task.id) is run:
            del self.running[run.task.id]
        if run.stop is not None:
            run.slot.uncancel()

    async def _call(self, run: Run) -> Any:
        if run.kind == "process":
            return await self._children.run(run.task, run.context, self._may_start)
        payload = _decode(run.task.payload)
        if run.kind == "async":
            return await run.function.call(**payload)
        inside = contextvars.copy_context().run
        return await self._threads.run(functools.partial(inside, run.function.call, **payload))


def _decode(payload: str) -> Any:
    """Return a payload; json.loads takes 1.07 instead of 0.36 µs (2026-11-26), but only that skips leading space."""
    return _scan(payload)[0] if payload[:1] == "{" else json.loads(payload)


def _stopped(run: Run, error: BaseException) -> Outcome:
    """Return the outcome of a run that ended with an exception."""
    match run.stop:
        case "timeout":
            return Failed(f"timed out after {run.task.timeout:g} s", failure(error).trace)
        case "cancel":
            return Cancelled()
        case "shutdown":
            return HandBack()
        case _:
            return failure(error)
