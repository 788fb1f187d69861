"""One worker process of a benchmark: `python -m benchmarks.worker`, its order on stdin, its report on stdout.

It is a plain `pgq.worker.Worker` with the settings of the order and defaults for the rest, on uvloop where that is
installed. It serves the app of the module that the order names, or else `benchmarks.app`; `tally` is the file where
its handlers note what they ran, `crunched` the one of its child processes, `without` the mechanisms that are taken out
of it. It ends at SIGTERM like any worker, and then says which tasks ran and when, but for those in the tally.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import ablation
from benchmarks.app import CRUNCHED, notes, open_gate, tallies
from benchmarks.tally import Tally
from pgq.config import Config
from pgq.worker import Worker


def main() -> None:
    """Serve the benchmark's queue until SIGTERM, then report."""
    order = json.loads(sys.stdin.readline())
    app = importlib.import_module(order.pop("app", "benchmarks.app")).app
    if tally := order.pop("tally", ""):
        tallies.append(Tally(Path(tally)))
    if crunched := order.pop("crunched", ""):
        os.environ[CRUNCHED] = crunched
    without = order.pop("without", [])
    ablation.take_out(without)
    with asyncio.Runner(loop_factory=None if "uvloop" in without else loop_factory()) as runner:
        runner.run(serve(Worker(app, Config(**order))))
    print(json.dumps(notes()))


async def serve(worker: Worker) -> None:
    """Run the worker; SIGTERM stops it, SIGUSR1 opens the gate of the handlers that wait there."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, worker.stop)
    loop.add_signal_handler(signal.SIGUSR1, open_gate)
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
