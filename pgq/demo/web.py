"""A real HTTP server on loopback, standing for the servers of all customers. It fails now and then, on purpose."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pgq.demo.delivery import Delivery, came_at

CLOSED = "closed"  # the customer whose server never accepts anything
ONE_IN = 6


class Customers(ThreadingHTTPServer):
    """Whatever was requested, accepted or not; each customer is a path below `url`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.deliveries: list[Delivery] = []
        self._came_at: dict[object, float] = {}  # by the address of the client
        self.url = f"http://127.0.0.1:{self.server_port}"

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection, and note when it came."""
        sock, client = super().get_request()
        self._came_at[client] = came_at(sock)
        return sock, client

    def answer(self, client: object, customer: str, event: dict[str, Any]) -> int:
        """Take note of an event and return the HTTP status of the answer."""
        order, attempt = int(event["order"]), int(event["attempt"])
        accepted = not refuses(customer, order, attempt)
        self.deliveries.append(Delivery(order, attempt, event["began"], self._came_at.pop(client), accepted))
        return 200 if accepted else 503


def refuses(customer: str, order: int, attempt: int) -> bool:
    """Say whether this attempt fails: every one of the closed customer, else 1 in 6 first and 1 in 36 second ones."""
    return customer == CLOSED or (attempt <= 2 and order % ONE_IN**attempt == 0)  # noqa: PLR2004 - the third succeeds


@contextmanager
def listening() -> Iterator[Customers]:
    """Serve from threads on a free port of the loopback interface."""
    with Customers() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="web")
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Request(BaseHTTPRequestHandler):
    server: Customers
    timeout = 10

    def do_POST(self) -> None:
        """Answer one webhook."""
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(self.server.answer(self.client_address, self.path.strip("/"), event))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Stay silent: the progress display has the word."""
