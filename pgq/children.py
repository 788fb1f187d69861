"""Child processes for handlers that may have to be killed: the parent's side.

A child runs one task at a time and is reused; at a timeout or a cancellation it is killed with everything it started,
for real. All of it is killed too when this process dies, so that no handler outlives the lease of its task. Messages
are JSON lines over a socket pair; the lifeline is a pipe that nobody writes to: its end is the news.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable

from pgq.context import Context
from pgq.errors import ConfigError
from pgq.task import Failed, HandBack, Outcome, Recorded, Task
from pgq.wire import BEGUN, MAX_LINE, decode_outcome, encode_task

Begin = Callable[[], None]

RECYCLE = 1_000  # tasks after which a child is replaced, which bounds what its handlers may leak


class NotReadyError(Exception):
    """What became of a process that should have become ready."""


class Child:
    """One child process, which serves the app at `module:app`."""

    def __init__(self, app_path: str) -> None:
        self.tasks = 0
        self._app_path = app_path
        self._process: asyncio.subprocess.Process | None = None
        self._lifeline: int | None = None

    @property
    def reusable(self) -> bool:
        """Whether it lives and has not run too many tasks."""
        return self._process is not None and self.tasks < RECYCLE and not _ended(self._process.pid)

    async def start(self) -> None:
        """Start the process and wait until it has imported the app. If this is cancelled half way, `kill` cleans up.

        Raises NotReadyError.
        """
        ours, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        try:
            self._reader, self._writer = await asyncio.open_connection(sock=ours, limit=MAX_LINE)
            fds = (theirs.fileno(), lifeline)
            numbers = [str(number) for number in (*fds, os.getpid())]
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "pgq.child", self._app_path, *numbers,
                pass_fds=fds, start_new_session=True, stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        finally:
            theirs.close()
            os.close(lifeline)
        if not await self._reader.readline():
            raise NotReadyError(f"{await self._fate()} before it was ready: its worker's log shows why")

    async def run(self, task: Task, begin: Begin | None = None) -> Outcome:
        """Run one task; a child that dies is a failed attempt that says how. `begin` is called when its handler is."""
        self.tasks += 1
        try:
            self._writer.write(encode_task(task, tell=begin is not None))
            await self._writer.drain()
            line = await self._reader.readline()
            if begin is not None and line == BEGUN:
                begin()
                line = await self._reader.readline()
        except OSError:
            line = b""
        if not line.endswith(b"\n"):
            return Failed(f"its process {await self._fate()}")
        return decode_outcome(json.loads(line))

    async def kill(self) -> None:
        """Kill the child and everything it started, and wait for its end."""
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        if hasattr(self, "_writer"):
            self._writer.close()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    async def _fate(self) -> str:
        assert self._process is not None  # noqa: S101 - it was started
        code = await self._process.wait()
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _ended(pid: int) -> bool:
    """Ask the kernel: asyncio hears of an end a moment later, and a task sent meanwhile would lose an attempt."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # it was waited for already
        return True


class Children:
    """A pool of children, started when needed; as many run at once as there are slots that ask.

    Each has `startup` seconds to import the app.
    """

    def __init__(self, app_path: str, startup: float) -> None:
        self._app_path = app_path
        self._startup = startup
        self._idle: list[Child] = []
        self._all: set[Child] = set()

    @property
    def possible(self) -> bool:
        """Whether child processes could find the app."""
        return bool(self._app_path)

    async def run(
        self, task: Task, context: Context, may_start: Callable[[], Awaitable[bool]], begin: Begin | None = None
    ) -> Outcome:
        """Run a task in a child, if it may still start once there is one. Cancelling this kills the child.

        A child that does not become ready is a failed attempt, too.
        """
        if not self.possible:
            raise ConfigError("process handlers need the app's import path: App(path='package.module:app')")
        try:
            child = await self._take()
        except NotReadyError as error:
            return Failed(f"its process {error}")
        try:
            outcome = await child.run(task, begin) if await may_start() else HandBack()
        except BaseException:
            await self._end(child)
            raise
        if child.reusable:
            self._idle.append(child)
        else:
            await self._end(child)
        context.completed = isinstance(outcome, Recorded)
        return outcome

    async def close(self) -> None:
        """Kill every child."""
        self._idle.clear()
        for child in list(self._all):
            await self._end(child)

    async def _take(self) -> Child:
        while self._idle:
            child = self._idle.pop()
            if child.reusable:
                return child
            await self._end(child)
        child = Child(self._app_path)
        self._all.add(child)
        try:
            async with asyncio.timeout(self._startup):
                await child.start()
        except TimeoutError:
            await self._end(child)
            seconds = f"{self._startup:g} s"
            raise NotReadyError(
                f"was not ready {seconds} after its start: importing {self._app_path} takes too long"
            ) from None
        except BaseException:
            await self._end(child)
            raise
        return child

    async def _end(self, child: Child) -> None:
        self._all.discard(child)
        await child.kill()
