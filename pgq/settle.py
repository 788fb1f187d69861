"""Last stage of the line: outcomes are written in batches, fenced by lease.

A batch that fails is tried again whole: what it wrote already has lost its lease, so nothing is written twice. Ids
that do not come back had lost their lease before; they are counted and logged, and never overwritten.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from time import monotonic
from typing import Any

import psycopg

from pgq.db import Call
from pgq.meters import SettleMeters
from pgq.queue import Settings
from pgq.task import Settled, Task

log = logging.getLogger("pgq")

Entry = tuple[Task, Settled]

LARGE = 10_000  # characters: a longer payload is let go of at once, for many outcomes wait where Postgres is slow


class Settler:
    """Gathers outcomes and writes them; `lost` counts those whose lease was gone."""

    def __init__(self, flush: float, keeps: Callable[[str], Settings]) -> None:
        self.settled = 0
        self.lost = 0
        self.meters = SettleMeters()
        self._flush = flush
        self._keeps = keeps
        self._waiting: list[Entry] = []
        self._writing: list[Entry] = []
        self._some = asyncio.Event()
        self._all_written = asyncio.Event()
        self._all_written.set()

    def add(self, task: Task, settled: Settled) -> None:
        """Hand in the outcome of one run."""
        if len(task.payload) > LARGE:
            task = replace(task, payload="")
        self._waiting.append((task, settled))
        self._some.set()
        self._all_written.clear()

    @property
    def backlog(self) -> int:
        """Outcomes not written yet."""
        return len(self._waiting) + len(self._writing)

    def held(self) -> list[int]:
        """Return the ids whose outcome is not written yet."""
        return [task.id for task, _ in (*self._waiting, *self._writing)]

    async def drained(self) -> None:
        """Wait until everything handed in is written."""
        await self._all_written.wait()

    async def write(self, conn: psycopg.AsyncConnection) -> None:
        """Write outcomes on this connection for ever. Raises psycopg.Error, after which another one continues."""
        await _plan(conn)
        while True:
            if not self._writing:
                await self._some.wait()
                await asyncio.sleep(self._flush)
                self._some.clear()
                self._writing, self._waiting = self._waiting, []
                self._writing.sort(key=_statement)
            await self._write_batch(conn)
            self._writing = []
            if not self._waiting:
                self._all_written.set()

    async def _write_batch(self, conn: psycopg.AsyncConnection) -> None:
        began = monotonic()
        calls = list(self.calls(self._writing))
        async with conn.pipeline() if len(calls) > 1 else contextlib.nullcontext():
            cursors = [await conn.execute(call.text, call.values) for call, _ in calls]
        for (call, batch), cursor in zip(calls, cursors, strict=True):
            moved = {row[0] for row in await cursor.fetchall()}
            self.settled += len(moved)
            if call.name != "settle":
                self.meters.outcomes[call.values["queue"], "completed"] += len(moved)
            else:
                self.meters.outcomes.update(
                    (task.queue, _outcome(settled)) for task, settled in batch if task.id in moved
                )
            if lost := [task.id for task, _ in batch if task.id not in moved]:
                self.lost += len(lost)
                log.warning("lease lost: task %s of queue %s; nothing recorded", lost, call.values["queue"])
        self.meters.settle_seconds.observe(monotonic() - began)
        self.meters.settle_tasks.observe(len(self._writing))

    def calls(self, entries: Sequence[Entry]) -> Iterable[tuple[Call, list[Entry]]]:
        """Yield one statement per queue and kind of outcome, and what it writes, in lock order (scheduled_at, id)."""
        for (queue, done), group in groupby(entries, key=lambda entry: (entry[0].queue, _is_done(entry))):
            batch = list(group)
            if not done:
                yield _settle(queue, batch), batch
            elif self._keeps(queue).retention == 0:
                yield Call("forget", keys(queue, batch)), batch
            else:
                yield Call("complete", keys(queue, batch)), batch


async def _plan(conn: psycopg.AsyncConnection) -> None:
    """Have the commonest statement planned, which takes some milliseconds, before the first task waits for it."""
    call = Call("complete", keys("", []))
    await conn.execute(call.text, call.values)


def _settle(queue: str, batch: Sequence[Entry]) -> Call:
    settled = [outcome for _, outcome in batch]
    columns: dict[str, list[Any]] = {
        "statuses": [s.status for s in settled],
        "due": [s.due for s in settled],
        "after": [s.after for s in settled],
        "refunds": [s.refund for s in settled],
        "errors": [s.error for s in settled],
        "tracebacks": [s.traceback for s in settled],
        "limit_keys": [s.limit_key for s in settled],
    }
    return Call("settle", {**keys(queue, batch), **columns})


def keys(queue: str, batch: Sequence[tuple[Task, Any]]) -> dict[str, Any]:
    """Return what names the rows of tasks, as array literals.

    A list would be adapted element by element, a fifth of all worker time.
    """
    return {
        "queue": queue,
        "ids": "{" + ",".join([str(task.id) for task, _ in batch]) + "}",
        "scheduled": "{" + ",".join([task.scheduled_at.isoformat() for task, _ in batch]) + "}",
        "leases": "{" + ",".join([task.lease.hex for task, _ in batch]) + "}",
    }


def _outcome(settled: Settled) -> str:
    """Return what became of a task: an end, or why it went back."""
    if settled.status != "pending":
        return settled.status
    if settled.limit_key is not None:
        return "throttled"
    return "returned" if settled.refund else "retried"


def _is_done(entry: Entry) -> bool:
    return entry[1].status == "completed"


def _statement(entry: Entry) -> tuple[Any, ...]:
    task = entry[0]
    return task.queue, _is_done(entry), task.scheduled_at, task.id
