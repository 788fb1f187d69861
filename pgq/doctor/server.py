"""The server and the way to it: its version, a pooler in between, notifications, clocks."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import psycopg

from pgq.connect import connect
from pgq.doctor.finding import Finding, one
from pgq.doorbell import CHANNEL
from pgq.migrate import MINIMUM_SERVER

SKEW = 1.0  # seconds the clocks may differ


def server(conn: psycopg.Connection) -> Finding:
    """Check the version of the server."""
    version = conn.info.parameter_status("server_version")
    where = f"Postgres {version}, database {conn.info.dbname} as {conn.info.user}"
    if conn.info.server_version < MINIMUM_SERVER:
        return Finding("server", "fail", f"{where}: pgq needs Postgres 14 or newer")
    return Finding("server", "ok", where)


def pooler(conn: psycopg.Connection) -> Finding:
    """Check whether a pooler is in between: it answers for another process than the one it introduced."""
    if one(conn, "select pg_backend_pid()") == conn.info.backend_pid:
        return Finding("pooler", "ok", "connected to Postgres itself")
    return Finding("pooler", "warn", "a pooler is in between: workers poll instead of sleeping; give them a direct DSN")


def listening(conn: psycopg.Connection, dsn: str) -> Finding:
    """Check that a note from one connection reaches another."""
    nonce = f"probe:{uuid.uuid4()}"
    conn.execute(f"listen {CHANNEL}")
    try:
        with connect(dsn, "doctor") as other:
            other.execute("select pg_notify(%s, %s)", (CHANNEL, nonce))
        if any(note.payload == nonce for note in conn.notifies(timeout=2, stop_after=1)):
            return Finding("listen", "ok", "notifications arrive")
    finally:
        conn.execute(f"unlisten {CHANNEL}")
    return Finding("listen", "warn", "notifications do not arrive: workers poll once a second; give a direct DSN")


def clock(conn: psycopg.Connection) -> Finding:
    """Check this host's clock against the server's."""
    before = datetime.now(UTC)
    there = one(conn, "select clock_timestamp()")
    after = datetime.now(UTC)
    apart = max((before - there).total_seconds(), (there - after).total_seconds(), 0.0)
    if apart > SKEW:
        return Finding("clock", "warn", f"this host and the server are {apart:.1f} s apart: run NTP on both")
    return Finding("clock", "ok", f"this host and the server agree within {SKEW:g} s")
