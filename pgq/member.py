"""This process as one of the workers: its row in `pgq.workers`, which claims need and recovery looks at."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence

import psycopg

from pgq.config import Config
from pgq.db import Call, arun
from pgq.version import __version__

log = logging.getLogger("pgq")


class Member:
    """The identity of a worker process. A process that was declared dead comes back under a new id."""

    def __init__(self, config: Config, queues: Sequence[str], name: str = "") -> None:
        self.id = 0
        self.name = name or f"{socket.gethostname()}:{os.getpid()}"
        self.queues = list(queues)
        self._config = config
        self._counted_in = False

    async def join(self, conn: psycopg.AsyncConnection) -> bool:
        """Register this process, unless it is registered; returns whether it was not."""
        if self._counted_in:
            return False
        values = {
            "name": self.name,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "queues": self.queues,
            "concurrency": self._config.concurrency,
            "version": __version__,
            "lease": self._config.lease,
        }
        ((self.id,),) = await arun(conn, Call("register", values))
        self._counted_in = True
        return True

    async def leave(self, conn: psycopg.AsyncConnection) -> None:
        """Take this process out of the workers."""
        await arun(conn, Call("unregister", {"id": self.id, "name": None}))

    def was_declared_dead(self) -> bool:
        """Forget the registration that the others have dropped; False when that is known already."""
        was_in, self._counted_in = self._counted_in, False
        if was_in:
            log.error("worker %s was declared dead and its tasks were given away; registering anew", self.id)
        return was_in
