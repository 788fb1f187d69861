"""The child's side: `python -m pgq.child module:app CHANNEL LIFELINE PARENT` runs tasks until the parent goes away."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import fcntl
import json
import os
import select
import signal
import socket
import sys
import threading
from typing import Any

from pgq import logs
from pgq.app import App
from pgq.context import CURRENT, Context
from pgq.load import load_app
from pgq.task import Dead, Done, Failed, Outcome, RateLimited, Recorded, Retry, Snooze, Task, failure, sound
from pgq.trace import Tracer
from pgq.wire import BEGUN, decode_task, encode_outcome


def main() -> None:
    """Serve tasks over the socket and the lifeline that the arguments number."""
    app_path, (channel_fd, lifeline, parent) = sys.argv[1], map(int, sys.argv[2:])
    for fd in (channel_fd, lifeline):
        os.set_inheritable(fd, False)
    die_with(lifeline)
    logs.as_the_parent()
    app = load_app(app_path)
    channel = socket.socket(fileno=channel_fd)
    with channel, channel.makefile("rb") as lines, asyncio.Runner() as loop:
        channel.sendall(b"ready\n")
        for line in lines:
            if os.getppid() != parent:  # a sibling that is just being forked may hold the lifeline a moment longer
                os._exit(1)
            task, tell = decode_task(line)
            if tell:
                channel.sendall(BEGUN)
            channel.sendall(encode_outcome(run(app, task, loop)))


def run(app: App, task: Task, loop: asyncio.Runner) -> Outcome:
    """Run one task to its outcome."""
    context = Context(task)
    token = CURRENT.set(context)
    try:
        value = _traced(app, task, loop)
    except RateLimited as limited:
        return sound(limited)
    except BaseException as error:  # noqa: BLE001 - whatever a handler raises is its failed attempt
        return failure(error)
    finally:
        CURRENT.reset(token)
    if isinstance(value, Retry | Snooze | Dead | Failed | RateLimited):
        return sound(value)  # after complete_in too: its commit may have failed, and if not, the lease is gone
    return Recorded() if context.completed else Done()


def _traced(app: App, task: Task, loop: asyncio.Runner) -> Any:
    """Return what the handler returns; in a span, where the app uses OpenTelemetry."""
    tracer = Tracer.found()
    if tracer is None:
        return _handle(app, task, loop)
    try:
        with tracer.span(task) as span:
            value = _handle(app, task, loop)
            tracer.ended(span, value)
            return value
    finally:
        tracer.flush()


def _handle(app: App, task: Task, loop: asyncio.Runner) -> Any:
    value = app.handler(task.task).function.call(**json.loads(task.payload))
    return loop.run(value, context=contextvars.copy_context()) if asyncio.iscoroutine(value) else value


def die_with(lifeline: int) -> None:
    """End with the parent, in the middle of a handler too, and with all that was started here.

    The task is given to another worker then. On Linux the kernel itself kills the process group when the parent's end
    of the pipe closes, so that code which never lets go of the interpreter cannot delay it; elsewhere a thread does.
    """
    if sys.platform == "linux":
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC)
    if _poll(lifeline).poll(0):  # closed before the kernel was told to watch it: the parent died as we started
        os._exit(1)
    threading.Thread(target=_watch, args=(lifeline,), daemon=True).start()


def _poll(lifeline: int) -> select.poll:
    poll = select.poll()
    poll.register(lifeline, select.POLLIN | select.POLLHUP)
    return poll


def _watch(lifeline: int) -> None:
    _poll(lifeline).poll()
    with contextlib.suppress(PermissionError):
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main()
