"""The app that workers under fault run: every handler tells the ledger when it starts and when it ends."""

from __future__ import annotations

import asyncio
import ctypes
import os
import random
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger import Ledger

import pgq

app = pgq.App(path="fault_app:app")
load = app.queue("load", max_attempts=100, timeout=60, backoff=pgq.Fixed(0.1))
other = app.queue("other", max_attempts=100, timeout=60, backoff=pgq.Fixed(0.1))
once = app.queue("once", max_attempts=1, timeout=60, backoff=pgq.Fixed(0.1))
poison = app.queue("poison", max_attempts=3, timeout=30, backoff=pgq.Fixed(0.1))
ledger = Ledger(Path(os.environ.get("FAULT_LEDGER", ".")))

LONG = 5_000  # ms; none of some tasks has ended when the last of them starts, on a busy machine neither


@contextmanager
def noted(key: str) -> Iterator[None]:
    """Tell the ledger of this run."""
    task = pgq.context().task
    ledger.write("start", key, task.id, task.attempts, task.lease, os.getpid(), os.getppid())
    try:
        yield
    except BaseException:
        ledger.write("stop", key, task.lease)
        raise
    ledger.write("end", key, task.lease)


@load.task
async def work(key: str, ms: int = 5) -> None:
    with noted(key):
        await asyncio.sleep(ms / 1000)


@load.task
def work_in_thread(key: str, ms: int = 5) -> None:
    with noted(key):
        time.sleep(ms / 1000)


@load.task(process=True)
def work_in_process(key: str, ms: int = 5) -> None:
    with noted(key):
        time.sleep(ms / 1000)


@once.task
async def work_once(key: str, ms: int = 5) -> None:
    with noted(key):
        await asyncio.sleep(ms / 1000)


@other.task
async def work_elsewhere(key: str, ms: int = 5) -> None:
    with noted(key):
        await asyncio.sleep(ms / 1000)


@load.task
async def block(key: str, ms: int) -> None:
    with noted(key):
        time.sleep(ms / 1000)  # noqa: ASYNC251 - a handler that forgets the others


@load.task
async def swallow(key: str, blob: str, loud: bool) -> None:
    with noted(key):
        if loud and pgq.context().task.attempts == 1:
            raise ValueError(blob)


@other.task
async def wander(key: str) -> None:
    """End, fail, die, or go to another day."""
    with noted(key):
        match random.randrange(6):
            case 0:
                raise ValueError(key)
            case 1:
                raise pgq.Dead(key)
            case 2 | 3:
                raise pgq.Retry(after=random.choice((86_400, 172_800)))


@poison.task
async def die(key: str, how: str) -> None:
    with noted(key):
        if how == "memory":
            resource.setrlimit(resource.RLIMIT_AS, (2**30, resource.RLIM_INFINITY))
            _ = bytearray(2**33)
        ledger.killed(os.getpid())
        if how == "exit":
            os._exit(17)
        ctypes.string_at(0)  # a segmentation fault
