"""One HTTP POST over an asyncio stream: all the HTTP client that a webhook needs."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit


async def post(url: str, body: dict[str, Any]) -> int:
    """Send `body` as JSON and return the status of the answer. Raises OSError, ValueError for no answer in HTTP."""
    target = urlsplit(url)
    content = json.dumps(body).encode()
    head = (
        f"POST {target.path or '/'} HTTP/1.1\r\nHost: {target.netloc}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(target.hostname, target.port or 80)
    try:
        writer.write(head.encode() + content)
        await writer.drain()
        answer = await reader.readline()
    finally:
        writer.close()
    if not answer.startswith(b"HTTP/1."):
        raise ValueError(f"{url} did not answer in HTTP, but {answer[:40]!r}")
    return int(answer.split()[1])
