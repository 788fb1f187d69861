"""An app that is slow to import in a child process, or cannot be: SLOW_IMPORT says how many seconds, or `fails`."""

from __future__ import annotations

import asyncio
import os
import sys
import time

import pgq

if "pgq.child" in sys.orig_argv:
    how = os.environ["SLOW_IMPORT"]
    if how == "fails":
        raise RuntimeError("no such library")
    time.sleep(float(how))

app = pgq.App(path="slow_app:app")
jobs = app.queue("jobs", backoff=pgq.Fixed(0.05))


@jobs.task(process=True, timeout=0.5)
def left_to_the_process() -> object:
    return pgq.Dead(f"{pgq.context().remaining:.2f}")


@jobs.task(timeout=0.5)
async def left() -> object:
    return pgq.Dead(f"{pgq.context().remaining:.2f}")


@jobs.task(process=True, timeout=0.5, max_attempts=1)
def overrun() -> None:
    time.sleep(600)


@jobs.task
async def rest() -> None:
    await asyncio.sleep(0)
