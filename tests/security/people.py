"""Logins of tests, one for each role, and what they try."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import make_conninfo

from pgq import statements

ROLES = ("pgq_enqueue", "pgq_worker", "pgq_monitor", "pgq_admin")
NOBODY = "nobody"  # a login of no role
PASSWORD = "pw-of-tests"  # noqa: S105 - of logins that live as long as a test


@contextmanager
def logins(server: str, *roles: str) -> Iterator[dict[str, str]]:
    """Make a login of each role (which may not be there: then of none); yields their names, and drops them."""
    mark = uuid.uuid4().hex[:8]
    names = {role: f"{role}_{mark}" for role in roles}
    with psycopg.connect(server, autocommit=True) as conn:
        for role, name in names.items():
            conn.execute(f"create role {name} login password '{PASSWORD}'")
            if role in ROLES:
                conn.execute(f"grant {role} to {name}")
        try:
            yield names
        finally:
            for name in names.values():
                conn.execute(f"drop role {name}")


def dsn_of(dsn: str, name: str) -> str:
    """Return the DSN by which a login comes to the same database."""
    return make_conninfo(dsn, user=name, password=PASSWORD)


def may(conn: psycopg.Connection, statement: str) -> bool:
    """Return whether this user may run a statement of `sql/queries`: the server checks that when it explains it."""
    text = re.sub(r"%\((\w+)\)s(?= \*)", "1", statements.query(statement)).replace("%(now)s -", "now() -")
    text = re.sub(r"%\((\w+)\)s", "null", text).replace("%%", "%")
    try:
        conn.execute(f"explain {text}".encode())
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True
