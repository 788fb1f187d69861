"""An app whose queues and keys are limited; its handlers tell the ledger what they do, as those of the fault app do."""

from __future__ import annotations

import asyncio
import os
import signal
import time

from fault_app import noted

import pgq

TIGHT = 4  # tasks of queue `tight` at once, of all workers together
PACE = pgq.Rate(20, per=1)
CUSTOMER = 2  # tasks of one customer at once
BRAVE = 4

app = pgq.App(path="limited_app:app")
EASY = {"max_attempts": 100, "timeout": 60, "backoff": pgq.Fixed(0.1)}
tight = app.queue("tight", concurrency=TIGHT, **EASY)
paced = app.queue("paced", rate_limit=PACE, **EASY)
keyed = app.queue("keyed", **EASY)
brave = app.queue("brave", concurrency=BRAVE, on_limiter_down="run", **EASY)
plain = app.queue("plain", **EASY)
hosts = app.queue("hosts", **EASY)
app.key_limit("customer", concurrency=CUSTOMER)
app.key_limit("host", rate=PACE)


@tight.task
async def one_of_few(key: str, ms: int = 5) -> None:
    with noted(key):
        await asyncio.sleep(ms / 1000)


@paced.task
async def in_step(key: str, ms: int = 5) -> None:
    with noted(key):
        await asyncio.sleep(ms / 1000)


@paced.task
async def late_in_step(key: str, ms: int = 5) -> None:
    """Start as a task does whose process is stopped when it may start, and before its first line."""
    os.kill(os.getpid(), signal.SIGSTOP)
    with noted(key):
        await asyncio.sleep(ms / 1000)


@paced.task
def late_in_thread(key: str, ms: int = 5) -> None:
    """Do the same in a thread."""
    os.kill(os.getpid(), signal.SIGSTOP)
    with noted(key):
        time.sleep(ms / 1000)


@hosts.task(limit_key="host:{host}")
async def at_host(key: str, host: str = "a", ms: int = 5) -> None:  # noqa: ARG001 - the key is for it
    with noted(key):
        await asyncio.sleep(ms / 1000)


@hosts.task(limit_key="host:{host}")
async def late_at_host(key: str, host: str = "a", ms: int = 5) -> None:  # noqa: ARG001 - as above
    os.kill(os.getpid(), signal.SIGSTOP)
    with noted(key):
        await asyncio.sleep(ms / 1000)


@keyed.task(limit_key="customer:{customer}")
async def for_customer(key: str, customer: str = "a", ms: int = 5) -> None:  # noqa: ARG001 - the key is for it
    with noted(key):
        await asyncio.sleep(ms / 1000)


@brave.task
async def come_what_may(key: str, ms: int = 5) -> None:
    with noted(key):
        await asyncio.sleep(ms / 1000)


@plain.task
async def unlimited(key: str, ms: int = 5) -> None:
    with noted(key):
        await asyncio.sleep(ms / 1000)


MIXED = [
    (one_of_few, {"ms": 80}),
    (in_step, {}),
    (for_customer, {"ms": 50, "customer": "a"}),
    (for_customer, {"ms": 50, "customer": "b"}),
]
