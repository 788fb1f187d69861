"""celery through the desk: prefork with two children a worker, Redis as the broker, no result backend.

Handlers run in children that celery forks, so each notes into a file of its own that the parent reads too.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import sys
import threading
from array import array
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic_ns
from typing import Any

from celery import Celery, signals

from benchmarks.peers.programs import desk
from benchmarks.peers.programs.desk import Door, Order

CHILDREN = 2
MOST = 2_000_000  # notes of a child; the file is sparse

_notes: list[memoryview] = []  # in a child: a count, then pairs of number and moment


def celery_app(order: Order) -> tuple[Celery, Any]:
    """Return an app whose keys have this database's prefix, and its task."""
    app = Celery("bench", broker=order["broker"])
    app.conf.update(
        broker_transport_options={"global_keyprefix": order["prefix"]},
        task_ignore_result=True,
        worker_prefetch_multiplier=64,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
    )

    def noop(i: int) -> None:
        view = _notes[0]
        at = 1 + 2 * view[0]
        view[at], view[at + 1] = i, monotonic_ns()
        view[0] += 1

    return app, app.task(name="noop")(noop)


def note_into(stem: str) -> None:
    """Open the notes of this child."""
    path = Path(f"{stem}.{os.getpid()}")
    with path.open("w+b") as file:
        file.truncate(8 * (1 + 2 * MOST))
        _notes[:] = [memoryview(mmap.mmap(file.fileno(), 0)).cast("q")]


def counts(stem: str) -> int:
    """Return how many handlers began in all children."""
    return sum(len(notes) // 2 for notes in pairs(stem, head=True))


def pairs(stem: str, *, head: bool = False) -> list[Sequence[int]]:
    """Return the notes of each child; with `head` as a range as long as they are."""
    found: list[Sequence[int]] = []
    for path in Path(stem).parent.glob(f"{Path(stem).name}.*"):
        with path.open("rb") as file:
            count = array("q", file.read(8) or bytes(8))[0]
            found.append(range(2 * count) if head else array("q", file.read(16 * count)))
    return found


async def install(order: Order) -> None:
    """Nothing to make: keys come with the first task."""


def work(order: Order) -> None:
    """Run one worker, its pool of children below it, until told to stop."""
    stem = order["notes"]
    app, _ = celery_app(order)
    signals.worker_process_init.connect(lambda **_: note_into(stem), weak=False)
    desk.say("ready")
    desk.hear()  # "go"
    stop = threading.Thread(
        target=desk.answer, args=(lambda: os.kill(os.getpid(), signal.SIGTERM), lambda: counts(stem)), daemon=True
    )
    stop.start()
    options = ["--pool=prefork", f"--concurrency={CHILDREN}", "--loglevel=ERROR", "--without-gossip"]
    with contextlib.suppress(SystemExit):
        app.worker_main(["worker", *options, "--without-mingle", f"--hostname=w{os.getpid()}@%h"])
    notes = pairs(stem)
    numbers, moments = array("q"), array("q")
    for found in notes:
        numbers.extend(found[::2])
        moments.extend(found[1::2])
    desk.write(stem, numbers, moments)
    desk.say(len(numbers))


@asynccontextmanager
async def door(order: Order) -> AsyncIterator[Door]:
    """Yield `apply_async` on one connection; there is no call for many."""
    app, task = celery_app(order)
    with app.connection_for_write() as connection, app.amqp.Producer(connection) as producer:

        async def single(i: int) -> None:
            task.apply_async(kwargs={"i": i}, producer=producer)

        async def bulk(numbers: Sequence[int]) -> None:
            for i in numbers:
                task.apply_async(kwargs={"i": i}, producer=producer)

        yield Door(single, bulk)


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(desk.hear())
    else:
        desk.Program(install, door).main()
