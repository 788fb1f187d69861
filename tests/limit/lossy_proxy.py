"""A TCP proxy before a server: it loses replies on demand, and may speak TLS to its clients."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from typing import Self

CHUNK = 65_536


class Proxy:
    """Forwards to a port of 127.0.0.1, in threads of its own."""

    def __init__(self, target: int, tls: ssl.SSLContext | None = None) -> None:
        self._target, self._tls = target, tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._sockets: list[socket.socket] = []
        self._lose = 0

    def lose(self, replies: int) -> None:
        """Drop the next replies, each with its connection."""
        self._lose = replies

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._listener)
        self._threads[0].join()
        for one in self._sockets:
            _end(one)
        for thread in self._threads[1:]:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        try:
            client = self._tls.wrap_socket(client, server_side=True) if self._tls else client
        except OSError:  # a client that does not trust us
            client.close()
            return
        server = socket.create_connection(("127.0.0.1", self._target))
        self._sockets += client, server
        for source, sink, replies in ((client, server, False), (server, client, True)):
            self._threads.append(threading.Thread(target=self._pump, args=(source, sink, replies)))
            self._threads[-1].start()

    def _pump(self, source: socket.socket, sink: socket.socket, replies: bool) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                if replies and self._lose:
                    self._lose -= 1
                    break
                sink.sendall(data)
        _end(source)
        _end(sink)


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
