"""What the live view can do: each is done on the looking thread's connection, recorded, and says what became of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import psycopg

from pgq.audit import whoami
from pgq.cli.output import count
from pgq.db import Call, run
from pgq.letters import Progress, Which
from pgq.letters import replay as replay_letters

Deed = Callable[[psycopg.Connection], str]
NOTE = "by pgq top"


def steer_queue(verb: Literal["pause", "resume"], queue: str) -> Deed:
    """Return what pauses or resumes a queue."""

    def deed(conn: psycopg.Connection) -> str:
        run(conn, Call(f"{verb}_queue", {"queue": queue, "actor": whoami()}))
        return f"{verb}d queue {queue}"

    return deed


def cancel(task_id: int) -> Deed:
    """Return what cancels a task."""

    def deed(conn: psycopg.Connection) -> str:
        ((said,),) = run(conn, Call("cancel_task", {"id": task_id, "actor": whoami()}))
        return f"task {task_id} was asked to stop" if said == "requested" else f"task {task_id}: {said}"

    return deed


def retry(task_id: int) -> Deed:
    """Return what starts a task over."""

    def deed(conn: psycopg.Connection) -> str:
        ((said,),) = run(conn, Call("retry_task", {"id": task_id, "actor": whoami()}))
        return f"task {task_id} will run again" if said == "pending" else f"task {task_id}: {said}"

    return deed


def replay(queue: str) -> Deed:
    """Return what starts all dead letters of a queue over."""

    def deed(conn: psycopg.Connection) -> str:
        done = Progress()
        for done in replay_letters(conn, Which(queue=queue), actor=whoami(), note=NOTE):  # noqa: B007 - the last counts
            pass
        refused = f"; {len(done.refused)} stay dead: their unique key is taken" if done.refused else ""
        return f"replayed {count(done.changed, 'dead letter')} of {queue}{refused}"

    return deed
