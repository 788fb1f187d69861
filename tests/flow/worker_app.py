"""An app that child processes can import: handlers that say what they did in files whose paths they are given."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pgq

app = pgq.App(path="worker_app:app")
jobs = app.queue("jobs", backoff=pgq.Fixed(0.05), max_attempts=3)


@jobs.task(process=True)
def note_start(path: str, seconds: float) -> None:
    with Path(path).open("a") as file:
        file.write(f"{time.monotonic()}\n")
    time.sleep(seconds)


@jobs.task
def note_start_in_thread(path: str, seconds: float) -> None:
    note_start.function.call(path, seconds)


@jobs.task
async def note_start_on_loop(path: str, seconds: float) -> None:
    note_start.function.call(path, 0)
    await asyncio.sleep(seconds)


@jobs.task(process=True)
def write_pid(path: str) -> None:
    context = pgq.context()
    Path(path).write_text(f"{os.getpid()} {context.id} {context.attempt}")


@jobs.task(process=True)
async def write_pid_later(path: str) -> None:
    await asyncio.to_thread(Path(path).write_text, f"{os.getpid()}")


@jobs.task(process=True, timeout=1.5, max_attempts=1)
def hang_with_grandchild(path: str) -> None:
    grandchild = subprocess.Popen(["sleep", "600"])
    Path(path).write_text(f"{os.getpid()} {grandchild.pid}")
    grandchild.wait()


@jobs.task(process=True, timeout=600)
def hang(path: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(600)


@jobs.task(process=True)
def ask_for(outcome: str) -> object:
    outcomes = {"retry": pgq.Retry(600), "snooze": pgq.Snooze(600), "dead": pgq.Dead("no use"), "garbage": object()}
    return outcomes[outcome]


@jobs.task(process=True)
def fail_with(kind: str) -> None:
    match kind:
        case "error":
            raise ValueError("no such image")
        case "exit":
            sys.exit(3)
        case "interrupt":
            raise KeyboardInterrupt
        case "cancelled":
            raise asyncio.CancelledError
        case "hard exit":
            os._exit(7)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "noise":
            raise ValueError("a\0b\ud800c" + "x" * 1_000_000)


@jobs.task(process=True)
def chatter() -> None:
    print("to standard output", flush=True)  # noqa: T201 - must not disturb the messages
    os.write(1, b"and below it\n")


@jobs.task
def never_return() -> None:
    time.sleep(600)
