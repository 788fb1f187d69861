"""A worker as a process: its event loop, its signals, its end."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from types import FrameType

from pgq.worker import Worker

log = logging.getLogger("pgq")

THREADS = "pgq-default"  # how the names of the loop's own threads start: `asyncio.to_thread` in a handler
PATIENCE = 1.0  # seconds such a thread gets to end


def serve(worker: Worker, *, burst: bool = False) -> None:
    """Run a worker until it ends, a signal stops it, or a second one ends the process at once.

    Raises what `Worker.run` raises.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_run(worker, burst=burst))
        _leave_stuck_threads()


async def _run(worker: Worker, *, burst: bool) -> None:
    loop = asyncio.get_running_loop()
    threads = ThreadPoolExecutor(thread_name_prefix=THREADS)
    loop.set_default_executor(threads)
    _handle_signals(lambda: loop.call_soon_threadsafe(worker.stop))
    try:
        await worker.run(burst=burst)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _handle_signals(stop: Callable[[], object]) -> None:
    """Stop at the first signal. Not by the loop: a handler may block it, and the second signal must work even so."""
    stopping = False

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        if stopping:
            os._exit(128 + number)
        stopping = True
        log.info("%s: finishing what runs; once more to end at once", signal.Signals(number).name)
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


def _leave_stuck_threads() -> None:
    """End the process if a handler's thread does not: its task was handed back, and the loop would wait for ever."""
    deadline = monotonic() + PATIENCE
    threads = [thread for thread in threading.enumerate() if thread.name.startswith(THREADS)]
    for thread in threads:
        thread.join(max(deadline - monotonic(), 0))
    stuck = [thread.name for thread in threads if thread.is_alive()]
    if stuck:
        log.warning("a thread that a handler started did not stop (%s): ending without it", ", ".join(stuck))
        atexit._run_exitfuncs()  # noqa: SLF001 - what the app registered still runs; threads are not waited for
        os._exit(0)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's factory where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
