"""This process as one of the workers: its row in `pgq.workers`, which claims need and recovery looks at."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from time import monotonic

import psycopg

from pgq.config import Config
from pgq.db import Call, arun
from pgq.version import __version__

log = logging.getLogger("pgq")


class Member:
    """The identity of a worker process. A process that was declared dead comes back under a new id.

    `under` is its supervisor and how many processes that runs: `host:pid 2..16`.

    Whoever was stopped for longer than its lease cannot know what became of its tasks: until the others have said that
    they still count it in, nothing is claimed or started. Heard of at a moment, it counts for a lease from then on.
    """

    def __init__(
        self,
        config: Config,
        queues: Sequence[str],
        name: str = "",
        tasks: Sequence[str] | None = None,
        under: str = "",
    ) -> None:
        self.id = 0
        self.name = name or f"{socket.gethostname()}:{os.getpid()}"
        self.queues = list(queues)
        self.tasks = None if tasks is None else sorted(tasks)  # names that it knows
        self._supervisor, _, self._scale = under.partition(" ")
        self._config = config
        self.counted_in = False
        self.sure_until = 0.0  # of the monotonic clock; the heartbeat's thread sets it

    @property
    def sure(self) -> bool:
        """Whether nobody can have given this worker's tasks away yet."""
        return monotonic() < self.sure_until

    def heard_of(self, at: float) -> None:
        """Take note that the others count this worker in, who were told of it at that moment or later."""
        self.sure_until = at + self._config.lease

    async def join(self, conn: psycopg.AsyncConnection) -> None:
        """Register this process."""
        values = {
            "name": self.name,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "queues": self.queues,
            "concurrency": self._config.concurrency,
            "version": __version__,
            "lease": self._config.lease,
            "tasks": self.tasks,
            "supervisor": self._supervisor or None,
            "scale": self._scale or None,
        }
        asked_at = monotonic()
        ((self.id,),) = await arun(conn, Call("register", values))
        self.heard_of(asked_at)
        self.counted_in = True

    async def leave(self, conn: psycopg.AsyncConnection) -> None:
        """Take this process out of the workers."""
        await arun(conn, Call("unregister", {"id": self.id, "name": None}))

    def was_declared_dead(self) -> bool:
        """Forget the registration that the others have dropped; False when that is known already."""
        was_in, self.counted_in, self.sure_until = self.counted_in, False, 0.0
        if was_in:
            log.error("worker %s was declared dead and its tasks were given away; registering anew", self.id)
        return was_in
