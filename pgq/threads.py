"""Threads for handlers that are plain functions.

Why not an executor: its threads are joined when the interpreter ends, so one handler that never returns would keep a
stopped worker alive for ever. These are daemons. There are as many as calls have run at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

Call = Callable[[], Any]
Reply = tuple[Any, BaseException | None]
Job = tuple[Call, asyncio.AbstractEventLoop, "asyncio.Future[Reply]"]


class Threads:
    """Runs calls in threads, for one event loop."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads = 0
        self._busy = 0

    async def run(self, call: Call) -> Any:
        """Return what the call returned or raise what it raised. Cancelling this leaves its thread running."""
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Reply] = loop.create_future()
        self._busy += 1
        if self._busy > self._threads:
            self._threads += 1
            threading.Thread(target=self._work, name=f"pgq-task-{self._threads}", daemon=True).start()
        self._jobs.put((call, loop, reply))
        value, error = await reply
        if error is not None:
            raise error
        return value

    def close(self) -> None:
        """Let idle threads end; busy ones end after their call, or with the process."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            call, loop, reply = job
            answer = _answer(call)
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
                loop.call_soon_threadsafe(self._ended, reply, answer)
            del job, call, reply, answer  # an idle thread keeps nothing alive

    def _ended(self, reply: asyncio.Future[Reply], answer: Reply) -> None:
        self._busy -= 1
        if not reply.done():
            reply.set_result(answer)


def _answer(call: Call) -> Reply:
    try:
        return call(), None
    except BaseException as error:  # noqa: BLE001 - it is raised again where the call was made
        return None, error
