"""A TCP proxy before Postgres that cuts connections at random moments, replies half way included."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from typing import Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

CHUNK = 65_536


class CuttingProxy:
    """Runs in a thread of its own; when told to, it cuts a connection after each random pause of `every` seconds."""

    def __init__(self, dsn: str, every: tuple[float, float]) -> None:
        parts = conninfo_to_dict(dsn)
        self._socket = f"{parts['host']}/.s.PGSQL.{parts.get('port', 5432)}"
        self._target = dsn
        self._every = every
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._port = 0
        self._cutting = False
        self.cuts = 0

    @property
    def dsn(self) -> str:
        """The way to the database through the proxy."""
        return make_conninfo(self._target, host="127.0.0.1", port=self._port, sslmode="disable")

    def cut(self, wanted: bool) -> None:
        """Begin to cut connections, or cut nothing more."""
        self._cutting = wanted

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join()

    def _serve(self) -> None:
        with contextlib.suppress(asyncio.CancelledError), asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        self._main = asyncio.current_task()
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        self._started.set()
        try:
            while True:
                await asyncio.sleep(random.uniform(*self._every))
                if self._open and self._cutting:
                    random.choice(list(self._open)).transport.abort()
                    self.cuts += 1
        finally:
            server.close()
            for writer in self._open:
                writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream_reader, upstream_writer = await asyncio.open_unix_connection(self._socket)
        except OSError:
            writer.close()
            return
        self._open.add(writer)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(_pump(reader, upstream_writer))
                pumps.create_task(_pump(upstream_reader, writer))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copy until one side ends, then end the other."""
    try:
        while data := await source.read(CHUNK):
            half = len(data) // 2 if random.random() < 0.5 else len(data)  # a cut may fall inside a message
            sink.write(data[:half])
            await sink.drain()
            sink.write(data[half:])
            await sink.drain()
    finally:
        sink.transport.abort()


class LossyProxy:
    """Stands before a Redis-compatible server and loses a share of its replies: some never come, some cut the line."""

    def __init__(self, socket: str, lose: float) -> None:
        self._socket = socket
        self._lose = lose
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._port = 0
        self.lost = 0

    @property
    def url(self) -> str:
        """The way to the server through the proxy."""
        return f"redis://127.0.0.1:{self._port}"

    def behave(self) -> None:
        """Lose nothing more."""
        self._lose = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join()

    def _serve(self) -> None:
        with contextlib.suppress(asyncio.CancelledError), asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        self._main = asyncio.current_task()
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        self._started.set()
        try:
            await asyncio.Event().wait()
        finally:
            server.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_unix_connection(self._socket)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(_pump(reader, upstream_writer), self._answer(upstream_reader, writer))

    async def _answer(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(CHUNK):
                if random.random() < self._lose:
                    self.lost += 1
                    if random.random() < 0.5:
                        continue  # the client waits until it gives up
                    return
                sink.write(data)
                await sink.drain()
        finally:
            sink.transport.abort()
