"""Second stage of the line: due tasks become ours, many per round trip, under a fresh lease."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import psycopg

from pgq import statements
from pgq.cursor import PRIORITIES, Clock
from pgq.grants import Batch
from pgq.lane import Lane
from pgq.task import Task


@dataclass(frozen=True, slots=True)
class Want:
    """What to ask of one queue in this round trip: `count` tasks, by the cursor or from the beginning (`sweep`).

    `batch` are the permits to claim under, where the queue has a limit.
    Before it, `rouse` lets go of the bell, and wakes other sleepers with `tell`; `doze` asks for the bell.
    After it, `ahead` asks when the next task is due.
    """

    lane: Lane
    count: int
    batch: Batch | None = None
    sweep: bool = False
    doze: bool = False
    rouse: bool = False
    tell: bool = False
    ahead: bool = False

    @property
    def alone(self) -> bool:
        """Whether it is a single statement."""
        return not (self.rouse or self.doze or self.ahead)


@dataclass(frozen=True, slots=True)
class Found:
    """What came back: the tasks in order; for a doze, the state of the bell and the seconds to the next due task."""

    tasks: list[Task]
    bell: str | None = None
    next_due: float | None = None


async def claim(conn: psycopg.AsyncConnection, worker_id: int, wants: Sequence[Want], clock: Clock) -> list[Found]:
    """Carry out all wants in one round trip; a doze asks for the bell first and then looks once more."""
    sent_at, sent = clock.now(), monotonic()
    replies = []
    alone = len(wants) == 1 and wants[0].alone
    async with contextlib.nullcontext() if alone else conn.pipeline():  # one statement needs none
        for want in wants:
            lease = want.batch.lease if want.batch is not None else uuid.uuid4()
            replies.append((want, lease, await _send(conn, worker_id, want, lease)))
    found = []
    for want, lease, cursors in replies:
        result = await _read(want, lease, cursors)
        if want.sweep:
            want.lane.cursor.swept(sent, monotonic(), full=len(result.tasks) == want.count)
        want.lane.cursor.advance(result.tasks, want.count, sent_at)
        found.append(result)
    return found


async def _send(conn: psycopg.AsyncConnection, worker_id: int, want: Want, lease: uuid.UUID) -> dict[str, Any]:
    settings = want.lane.settings
    floors = want.lane.cursor.bottom if want.sweep else want.lane.cursor.floors
    cursors = {}
    if want.rouse:
        values = {"bell": settings.bell, "queue": settings.name, "tell": want.tell}
        cursors["rouse"] = await conn.execute(statements.query("rouse"), values)
    if want.doze:
        cursors["doze"] = await conn.execute(statements.query("doze"), {"bell": settings.bell})
    cursors["claim"] = await conn.execute(
        statements.query("claim"),
        {
            "queue": settings.name,
            "worker_id": worker_id,
            "lease": lease,
            "priorities": PRIORITIES,
            "floors": floors,
            "tasks": want.lane.names,
            "count": want.count,
            "now": None,
        },
        binary=True,
    )
    if want.ahead:
        due = {"queue": settings.name, "priorities": PRIORITIES}
        cursors["next_due"] = await conn.execute(statements.query("next_due"), due)
    return cursors


async def _read(want: Want, lease: uuid.UUID, cursors: dict[str, Any]) -> Found:
    queue = want.lane.settings.name
    tasks = [Task(queue, lease, *row) for row in await cursors["claim"].fetchall()]
    tasks.sort(key=_place)
    bell = (await cursors["doze"].fetchall())[0][0] if want.doze else None
    next_due = (await cursors["next_due"].fetchall())[0][0] if want.ahead else None
    return Found(tasks, bell, next_due)


def _place(task: Task) -> tuple[Any, ...]:
    return task.priority, task.scheduled_at, task.id
