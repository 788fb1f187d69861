"""The doctor: checks of the database, the schema, the workers and Redis, each a sentence that says what to do.

What the database knows itself it reads from the view `pgq.health`; the other checks are about what lies between this
host and the servers. None changes anything.
"""

from __future__ import annotations

from typing import Literal

import psycopg

from pgq.connect import connect
from pgq.db import Call, run
from pgq.doctor import redis, schema, server
from pgq.doctor.finding import Finding

__all__ = ["Finding", "examine"]

_LEVELS: dict[str, Literal["ok", "warn", "fail"]] = {"ok": "ok", "warn": "warn", "critical": "fail"}


def examine(dsn: str, redis_url: str = "", prefix: str = "pgq") -> list[Finding]:
    """Run every check; those that need the schema only where it is there. Raises psycopg.OperationalError."""
    with connect(dsn, "doctor") as conn:
        findings = [server.server(conn), server.pooler(conn), server.listening(conn, dsn), server.clock(conn)]
        findings.append(schema.schema(conn))
        if findings[-1].level != "fail":
            findings += [schema.indexes(conn), schema.roles(conn), *health(conn)]
            if not redis_url:
                findings.append(redis.unlimited(conn))
        if redis_url:
            findings += redis.redis(conn, redis_url, prefix)
    return findings


def health(conn: psycopg.Connection) -> list[Finding]:
    """Return the checks of the view pgq.health."""
    return [Finding(name, _LEVELS[status], message) for name, status, message, _ in run(conn, Call("health", {}))]
