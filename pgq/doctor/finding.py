"""What a check found, and how checks ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import psycopg


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    level: Literal["ok", "warn", "fail"]
    text: str


def one(conn: psycopg.Connection, query: str, *values: Any) -> Any:
    """Return the one value that a query gives."""
    row = conn.execute(query.encode(), values or None).fetchone()
    return row and row[0]


def names(conn: psycopg.Connection, query: str, *values: Any) -> list[str]:
    """Return the names that a query gives."""
    return [name for (name,) in conn.execute(query.encode(), values or None)]
