"""The stream of server-sent events to one browser: always the newest, ended where the other side is gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pgq.dashboard.hub import Hub

PATIENCE = 20.0  # seconds for a browser to take what was sent, and between two signs of life
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class Stream(Response):
    """An answer that goes on: `first` at once, then each newer version of some parts."""

    def __init__(self, hub: Hub, parts: Collection[str], first: bytes = b"") -> None:
        super().__init__()
        self._hub = hub
        self._parts = parts
        self._first = first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Stream until the browser is gone, or the dashboard ends."""
        with self._hub.watching(self._parts):
            telling = asyncio.create_task(self._tell(send))
            gone = asyncio.create_task(_gone(receive))
            try:
                await asyncio.wait({telling, gone}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (telling, gone):
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError, OSError, TimeoutError):
                        await task

    async def _tell(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await _give(send, b"retry: 1000\n\n" + self._first)
        seen = 0
        while not self._hub.closing:
            news = self._hub.news  # before looking, so that nothing is missed
            events, seen = self._hub.newer(self._parts, seen)
            if events:
                await _give(send, events)
                continue
            try:
                await asyncio.wait_for(news.wait(), PATIENCE)
            except TimeoutError:
                await _give(send, b": still there\n\n")
        await send({"type": "http.response.body", "body": b""})


async def _give(send: Send, body: bytes) -> None:
    """Send, and give up on a browser that takes nothing any more. Raises TimeoutError."""
    await asyncio.wait_for(send({"type": "http.response.body", "body": body, "more_body": True}), PATIENCE)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
