"""A small web server beside a worker: /metrics of its process, /metrics/queues of the database."""

from __future__ import annotations

import contextlib
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar

from pgq.errors import ConfigError
from pgq.metrics.database import CONTENT_TYPE, page, read
from pgq.redact import first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgq.worker import Worker

log = logging.getLogger("pgq")

SLOWEST = "5s"  # of the views, before the page is given up
IDLE = 10.0  # seconds a client may keep a connection without a word


class Endpoint(ThreadingHTTPServer):
    """Serves the pages of one worker from threads of its own; the event loop has nothing to do with it."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], dsn: str, worker: Worker) -> None:
        self.dsn = dsn
        self.worker = worker
        super().__init__(address, _Handler)

    def start(self) -> None:
        """Answer from now on, until `shutdown`."""
        threading.Thread(target=self.serve_forever, name="pgq-metrics", daemon=True).start()
        log.info("metrics at http://%s:%d/metrics", *self.server_address[:2])

    def process(self) -> bytes:
        """Return the page of this process."""
        from prometheus_client import ProcessCollector  # noqa: PLC0415 - comes with an extra

        from pgq.metrics.library import Page, render  # noqa: PLC0415 - as above
        from pgq.metrics.process import collect  # noqa: PLC0415 - as above

        return render(Page(lambda: collect(self.worker)), ProcessCollector(registry=None))

    def queues(self) -> bytes:
        """Return the page of the database. Raises psycopg.Error."""
        from pgq.connect import connect  # noqa: PLC0415 - the driver is there long before

        with connect(self.dsn, "metrics") as conn, conn.transaction():
            conn.execute(f"set local statement_timeout = '{SLOWEST}'")
            return page(read(conn))


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint
    timeout = IDLE
    pages: ClassVar = {"/metrics": Endpoint.process, "/metrics/queues": Endpoint.queues}

    def do_GET(self) -> None:
        """Answer with a page."""
        import psycopg  # noqa: PLC0415 - as above

        found = self.pages.get(self.path.partition("?")[0])
        if found is None:
            self._answer(404, b"there is /metrics, and /metrics/queues\n")
            return
        try:
            self._answer(200, found(self.server))
        except psycopg.Error as error:
            log.warning("metrics of the queues: %s", first_line(error))
            self._answer(503, b"the database does not answer\n")

    def _answer(self, status: int, body: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Log requests only for who looks closely."""
        log.debug("metrics: %s", format % args)


def bind(port: int, host: str, dsn: str, worker: Worker) -> Endpoint:
    """Take a port (0: any that is free) for the metrics of a worker; `start` serves them.

    Raises ConfigError for a port that cannot be had, or without the extra.
    """
    with _taking(port, host):
        return Endpoint((host, port), dsn, worker)


def check(port: int, host: str) -> None:
    """Raise ConfigError where `bind` would."""
    with _taking(port, host):
        ThreadingHTTPServer((host, port), _Handler).server_close()


@contextlib.contextmanager
def _taking(port: int, host: str) -> Iterator[None]:
    import pgq.metrics.library  # noqa: PLC0415, F401 - says what is missing

    try:
        yield
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"metrics cannot be served at {host}:{port}: {why}") from None
