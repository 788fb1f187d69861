"""A real SMTP server on loopback that takes every mail and notes which order it was for."""

from __future__ import annotations

import asyncio
import email
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message

from aiosmtpd.smtp import SMTP, Envelope, Session

from pgq.demo.delivery import Delivery, came_at


class Server(SMTP):
    """One connection, and when it came."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection; asyncio calls this."""
        self.came_at = came_at(transport.get_extra_info("socket"))
        super().connection_made(transport)


class Mailbox:
    """Whatever was delivered to the server on `port`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.deliveries: list[Delivery] = []

    async def handle_DATA(self, server: Server, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        """Take a mail; aiosmtpd calls this."""
        mail = email.message_from_bytes(envelope.original_content or b"")
        self.deliveries.append(_delivery(mail, server.came_at))
        return "250 OK"


def _delivery(mail: Message, at: float) -> Delivery:
    return Delivery(int(mail["X-Order"]), int(mail["X-Attempt"]), float(mail["X-Began"]), at)


@contextmanager
def listening() -> Iterator[Mailbox]:
    """Serve from a thread of its own on a free port of the loopback interface."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as sock:
        mailbox = Mailbox(sock.getsockname()[1])
        loop = asyncio.new_event_loop()
        over = asyncio.Event()
        thread = threading.Thread(target=loop.run_until_complete, args=(_serve(mailbox, sock, over),), name="smtp")
        thread.start()
        try:
            yield mailbox
        finally:
            loop.call_soon_threadsafe(over.set)
            thread.join()
            loop.close()


async def _serve(mailbox: Mailbox, sock: socket.socket, over: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Server(mailbox, hostname="localhost", loop=loop), sock=sock)
    await over.wait()
    server.close()
    sessions = asyncio.all_tasks() - {asyncio.current_task()}
    for session in sessions:
        session.cancel()
    await asyncio.gather(*sessions, return_exceptions=True)
