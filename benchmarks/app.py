"""The app under measurement: one queue, and one handler that does nothing but note that it ran."""

from __future__ import annotations

from array import array
from time import monotonic_ns

import pgq

QUEUE = "bench"

app = pgq.App()
queue = app.queue(QUEUE)

executed = array("q")  # `i` of every execution in this process, in order
started_at = array("q")  # when each began, nanoseconds of CLOCK_MONOTONIC, which all processes of a host share


@queue.task
async def noop(i: int) -> None:
    """Do nothing; the two notes cost about 0.2 microseconds."""
    executed.append(i)
    started_at.append(monotonic_ns())
