"""The dashboard as a process: its socket, its server, its end."""

from __future__ import annotations

import logging
import socket

import uvicorn
from starlette.applications import Starlette

from pgq.dashboard.application import build
from pgq.dashboard.settings import Settings
from pgq.errors import ConfigError

BACKLOG = 128


class Server(uvicorn.Server):
    """Lets the streams end first: they would never do so by themselves."""

    def __init__(self, config: uvicorn.Config, app: Starlette) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, end the streams, wait for the rest."""
        self._app.state.hub.close()
        await super().shutdown(sockets)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises ConfigError that says why it cannot."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error}") from None
    return listening


def serve(settings: Settings, listening: socket.socket) -> None:
    """Serve until a signal."""
    app = build(settings)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, proxy_headers=False, lifespan="on", ws="none",
        timeout_graceful_shutdown=5,
    )  # fmt: skip
    logging.getLogger("pgq").setLevel(logging.WARNING)
    Server(config, app).run(sockets=[listening])
