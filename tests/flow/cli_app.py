"""An app for the command line's tests: handlers that say in files what they do, and wait for files to appear."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path

import pgq

app = pgq.App()
jobs = app.queue("jobs", max_attempts=2, backoff=pgq.Fixed(0.05))
side = app.queue("side", max_attempts=3)
empty = pgq.App()


@jobs.task
def note(path: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")


@jobs.task
def wait_for(begun: str, go_on: str) -> None:
    Path(begun).write_text(f"{os.getpid()}")
    while not Path(go_on).exists():
        time.sleep(0.01)


@jobs.task(max_attempts=1)
async def fail(text: str) -> None:
    raise ValueError(text)


@jobs.task
async def wait_in_a_thread(begun: str, go_on: str) -> None:
    await asyncio.to_thread(wait_for, begun, go_on)


@side.task
async def nothing() -> None:
    pass


@jobs.task(max_attempts=1)
async def log_and_fail(words: str) -> None:
    assert words
    logging.getLogger("shop").warning("half way")
    raise RuntimeError("no luck")


@jobs.task(process=True, max_attempts=1)
def log_in_a_child(words: str) -> None:
    assert words
    logging.getLogger("shop").warning("in the child\nstill")
