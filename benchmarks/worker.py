"""One worker process of a benchmark: `python -m benchmarks.worker`, its order on stdin, its report on stdout.

It is a plain `pgq.worker.Worker` with the settings of the order and defaults for the rest, on uvloop where that is
installed. It serves the app of the module that the order names, or else `benchmarks.app`. It ends at SIGTERM like any
worker, and then says which tasks its handlers ran and when.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import signal
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.app import executed, started_at
from pgq.config import Config
from pgq.worker import Worker


def main() -> None:
    """Serve the benchmark's queue until SIGTERM, then report."""
    order = json.loads(sys.stdin.readline())
    app = importlib.import_module(order.pop("app", "benchmarks.app")).app
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve(Worker(app, Config(**order))))
    print(json.dumps({"executed": executed.tolist(), "started_at": started_at.tolist()}))


async def serve(worker: Worker) -> None:
    """Run the worker; SIGTERM stops it."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's event loop when it is installed, else None for asyncio's own."""
    if importlib.util.find_spec("uvloop") is None:
        return None
    uvloop: Any = importlib.import_module("uvloop")
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


if __name__ == "__main__":
    main()
