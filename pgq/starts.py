"""Starts: what Postgres must know of a run before its handler begins.

That is little: a run on its last attempt that could take this process down with it says so, and one that waited for
its process to start says that its time counts from now. All others cost nothing. Runs gather while the last batch is
on its way, so many that begin together are one round trip; one whose lease is gone, or that was asked to stop, must
not begin. A batch that fails is written again whole. The runs of a batch have all begun, as far as anybody can tell
later: where the first of them kills the worker at once, the others, never more than there are slots, are spent too.

These commits do not wait for the disk (see `connect`): only a crash of Postgres loses one, and that leaves this worker
alive. Should both fall together, the attempt is given back although it had begun: the task runs once more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

import psycopg

from pgq.db import Call
from pgq.settle import keys
from pgq.task import Task

Entry = tuple[Task, tuple[bool, asyncio.Future[bool]]]


class Starts:
    """Gathers runs that are about to begin and writes them.

    A task is taken away `patience` seconds past its timeout.
    """

    def __init__(self, patience: float) -> None:
        self.needed = asyncio.Event()  # there was one
        self._every = max(patience / 3, 0.05)
        self._late = patience / 10
        self._waiting: list[Entry] = []
        self._writing: list[Entry] = []
        self._some = asyncio.Event()

    def waited(self, seconds: float) -> bool:
        """Whether a run that waited so long since it was taken has to be given its time anew."""
        return seconds > self._late

    async def begin(self, task: Task, *, suspect: bool) -> bool:
        """Wait until it is known that a run begins; False: it must not."""
        return await self._add(task, suspect=suspect)

    async def prolong(self, preparing: Callable[[], Iterable[Task]]) -> None:
        """Let no task seem past its timeout while its process starts, for ever."""
        while True:
            await asyncio.sleep(self._every)
            said = {task.id for task, _ in self._waiting}
            for task in preparing():
                if task.id not in said:  # one statement changes a row once
                    self._add(task, suspect=False)

    def _add(self, task: Task, *, suspect: bool) -> asyncio.Future[bool]:
        known: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((task, (suspect, known)))
        self._some.set()
        self.needed.set()
        return known

    async def write(self, conn: psycopg.AsyncConnection) -> None:
        """Write starts on this connection for ever. Raises psycopg.Error, after which another one continues."""
        while True:
            if not self._writing:
                await self._some.wait()
                self._some.clear()
                self._writing, self._waiting = sorted(self._waiting, key=_place), []
            await self._write_batch(conn)
            self._writing = []
            await asyncio.sleep(0)  # these handlers first: one that kills has then marked nobody of the next batch

    async def _write_batch(self, conn: psycopg.AsyncConnection) -> None:
        calls = [_call(queue, list(batch), self._late) for queue, batch in groupby(self._writing, key=_queue)]
        async with conn.pipeline() if len(calls) > 1 else contextlib.nullcontext():
            cursors = [await conn.execute(call.text, call.values) for call in calls]
        begun = {row[0] for cursor in cursors for row in await cursor.fetchall()}
        for task, (_, known) in self._writing:
            if not known.done():  # its run was stopped meanwhile
                known.set_result(task.id in begun)


def _call(queue: str, batch: Sequence[Entry], late: float) -> Call:
    suspects = [suspect for _, (suspect, _) in batch]
    return Call("begin", {**keys(queue, batch), "suspects": suspects, "late": late})


def _queue(entry: Entry) -> str:
    return entry[0].queue


def _place(entry: Entry) -> tuple[Any, ...]:
    """Return the lock order."""
    task = entry[0]
    return task.queue, task.scheduled_at, task.id
