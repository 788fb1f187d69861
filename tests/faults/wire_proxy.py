"""A proxy before Postgres that knows its messages: it loses replies of chosen connections, or leaves them half open."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from proxy import CHUNK, CuttingProxy
from psycopg.conninfo import make_conninfo

DONE, READY = b"C", b"Z"  # a command is complete; the server has committed, where that was to be done
PATIENCE = 0.2  # seconds for the one after the other; in a pipeline it may wait for the client
NEVER = 1e9


@dataclass(slots=True)
class Wire:
    """One connection; it passes nothing on while it is half open."""

    role: str
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    passing: asyncio.Event = field(default_factory=asyncio.Event)
    greeted: bool = False  # its first query, about the connection itself, is never lost


class WireProxy(CuttingProxy):
    """Asks `lose(role, tag)` of every complete query whether its reply is to be lost, and the connection with it.

    A role is the application's name; a tag says what the query did: `COMMIT`, `UPDATE 3`. When it is lost it has
    happened.
    """

    def __init__(self, dsn: str, lose: Callable[[str, str], bool] = lambda _role, _tag: False) -> None:
        super().__init__(dsn, (NEVER, NEVER))
        self.lose = lose
        self.lost: Counter[str] = Counter()  # replies, by role
        self._wires: list[Wire] = []

    def to(self, role: str) -> str:
        """Return the way to the database for connections of a role of the test's own."""
        return make_conninfo(self.dsn, application_name=role, gssencmode="disable")

    @property
    def dsn(self) -> str:
        """The way to the database through the proxy."""
        return make_conninfo(super().dsn, gssencmode="disable")

    def half_open(self, role: str) -> int:
        """Pass nothing more over the connections that a role has now, and tell nobody; returns how many those are."""
        wires = [wire for wire in self._wires if wire.role == role]
        for wire in wires:
            self._loop.call_soon_threadsafe(wire.passing.clear)
        return len(wires)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream_reader, upstream_writer = await asyncio.open_unix_connection(self._socket)
            role, hello = await _hello(reader)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()
            return
        wire = Wire(role, writer, upstream_writer)
        wire.passing.set()
        self._wires.append(wire)
        upstream_writer.write(hello)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(_ask(reader, wire))
                pumps.create_task(self._answer(upstream_reader, wire))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._wires.remove(wire)

    async def _answer(self, server: asyncio.StreamReader, wire: Wire) -> None:
        try:
            while True:
                kind, message = await _message(server)
                await wire.passing.wait()
                if kind == DONE and wire.greeted and self.lose(wire.role, message[5:-1].decode()):
                    await _until_ready(server)
                    self.lost[wire.role] += 1
                    return
                wire.greeted |= kind == DONE
                wire.client.write(message)
                await wire.client.drain()
        finally:
            wire.client.transport.abort()
            wire.server.transport.abort()


async def _until_ready(server: asyncio.StreamReader) -> None:
    """Read what the server says until it has committed, or waits for more."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while (await _message(server))[0] != READY:
                pass


async def _ask(client: asyncio.StreamReader, wire: Wire) -> None:
    """Pass on what the client says until it ends."""
    try:
        while data := await client.read(CHUNK):
            await wire.passing.wait()
            wire.server.write(data)
            await wire.server.drain()
    finally:
        wire.server.transport.abort()


async def _hello(client: asyncio.StreamReader) -> tuple[str, bytes]:
    """Return the role of a new connection, and its first message as it came."""
    size = await client.readexactly(4)
    rest = await client.readexactly(int.from_bytes(size) - 4)
    words = rest[4:].split(b"\0")
    return dict(zip(words[::2], words[1::2], strict=False)).get(b"application_name", b"").decode(), size + rest


async def _message(server: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return the kind of the next message, and all of it."""
    head = await server.readexactly(5)
    return head[:1], head + await server.readexactly(int.from_bytes(head[1:]) - 4)
