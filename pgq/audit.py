"""The audit: who steered what, when. Entries are written in the transaction of the change they tell of.

    run(conn, record("replay", queue="email", filter={"error": "HTTP 503"}, count=40, actor="ada@desk"))
    await arun(aconn, record("pause", queue="email", actor="ada, by the dashboard"))

The SQL functions that steer (`pgq.cancel`, `pgq.retry`, `pgq.pause`, `pgq.resume`) record themselves and take `actor`.
"""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Mapping
from typing import Any

from pgq.db import Call


def record(
    action: str,
    *,
    queue: str | None = None,
    filter: Mapping[str, Any] | None = None,  # noqa: A002 - the column's name
    count: int = 1,
    note: str | None = None,
    actor: str | None = None,
) -> Call:
    """Return the statement that writes one entry; its row is the entry's id.

    `filter` is what was chosen (`{"ids": [17]}`, or conditions) or changed (`{"timeout": [30, 60]}`), `count` how many
    tasks or queues that were, `actor` None the database role of the connection.
    """
    values = {
        "action": action,
        "queue": queue,
        "filter": None if filter is None else json.dumps(filter, default=str),
        "count": count,
        "note": note,
        "actor": actor,
    }
    return Call("record", values)


def whoami() -> str:
    """Return user@host of this process, which is how commands sign."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's number without a name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
