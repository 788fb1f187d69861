"""What a handler can ask about its own run: `pgq.context()`."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from time import monotonic
from typing import Any

from pgq.db import Call, Row, arun, run
from pgq.errors import LeaseLost, PgqError
from pgq.task import Task

CURRENT: ContextVar[Context] = ContextVar("pgq_context")
_MAKING = threading.Lock()


class Context:
    """The run in progress. Times are seconds."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.deadline = monotonic() + task.timeout
        self.completed = False  # complete_in was called
        self._cancelled = False
        self._waiting: threading.Event | None = None  # made by the first who waits: it costs more than the rest

    @property
    def id(self) -> int:
        """The task's id, the same in every attempt."""
        return self.task.id

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self.task.attempts

    @property
    def fencing_token(self) -> str:
        """A token unique to this attempt, for outside systems that can refuse an older one."""
        return f"{self.task.id}:{self.task.attempts}:{self.task.lease}"

    @property
    def remaining(self) -> float:
        """Seconds until the timeout; negative past it."""
        return self.deadline - monotonic()

    @property
    def cancelled(self) -> bool:
        """Whether this run should stop: cancelled, past its timeout, or its lease lost.

        A thread cannot be stopped from outside: a long `def` handler should look here now and then, and raise to stop.
        A return says that its work is done, and completes the task.
        """
        return self._cancelled

    def wait_cancelled(self, seconds: float) -> bool:
        """Wait up to `seconds` for the run to be cancelled: a sleep that a cancellation ends. For threads."""
        with _MAKING:
            if self._waiting is None:
                self._waiting = threading.Event()
        return self._cancelled or self._waiting.wait(seconds)

    def cancel(self) -> None:
        """Mark the run as to be stopped."""
        self._cancelled = True  # before the look at who waits: whoever starts to wait after it sees this
        if self._waiting is not None:
            self._waiting.set()

    def complete_in(self, conn: Any) -> None:
        """Complete this task in the transaction of `conn`, with the handler's own writes: all of it or nothing.

        Call it last and commit before the handler returns. Raises LeaseLost when the task is no longer this run's;
        let that roll the transaction back.
        """
        self._check(run(conn, self._completion()))

    async def acomplete_in(self, conn: Any) -> None:
        """Do the same on an async connection."""
        self._check(await arun(conn, self._completion()))

    def _completion(self) -> Call:
        task = self.task
        lease = str(task.lease)  # psycopg2 knows no UUID
        return Call(
            "complete_in", {"queue": task.queue, "id": task.id, "scheduled_at": task.scheduled_at, "lease": lease}
        )

    def _check(self, rows: list[Row]) -> None:
        if not rows:
            self.cancel()
            raise LeaseLost(f"task {self.task.id} was given to another worker; nothing of this run was recorded")
        self.completed = True


def context() -> Context:
    """Return the context of the run that calls this. Raises PgqError outside a handler."""
    try:
        return CURRENT.get()
    except LookupError:
        raise PgqError("pgq.context() was called outside a running task") from None
