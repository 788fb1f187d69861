"""What EXPLAIN (ANALYZE) says about a statement of the line, as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from pgq.db import Call, positional

JOINS = frozenset({"Hash Join", "Merge Join"})


@dataclass(frozen=True)
class Plan:
    """The nodes of a plan that ran at least once."""

    ran: list[dict[str, Any]]
    milliseconds: float

    @property
    def touched(self) -> set[str]:
        """The leaves of pgq.tasks that were read."""
        return {node["Relation Name"] for node in self.scans}

    @property
    def scans(self) -> list[dict[str, Any]]:
        """The scans of leaves of pgq.tasks."""
        return [node for node in self.ran if node.get("Relation Name", "").startswith("tasks_")]

    @property
    def whole_scans(self) -> list[str]:
        """The leaves that were read from end to end: without an index, or by one without a key of the row."""
        return [scan["Relation Name"] for scan in self.scans if scan["Node Type"] == "Seq Scan" or not _by_key(scan)]

    @property
    def indexes(self) -> set[str]:
        """The indexes of leaves that were read, without the leaf's name."""
        scans = [scan for scan in self.scans if "Index Name" in scan]
        return {scan["Index Name"].removeprefix(scan["Relation Name"] + "_") for scan in scans}

    @property
    def most_rows(self) -> float:
        """The most rows that one node read or sorted away from what it returned, all loops together."""
        return max(_rows(node) for node in self.ran)

    def __str__(self) -> str:
        """The essence, for a failed assertion."""
        return "\n".join(
            f"{node['Node Type']} {node.get('Relation Name', '')} {node.get('Index Name', '')}"
            f" rows={_rows(node):g} loops={node['Actual Loops']} {node.get('Index Cond', '')}"
            for node in self.ran
        )


def explain(conn: psycopg.Connection, call: Call, mode: str) -> Plan:
    """Run a statement under a plan cache mode ('custom' or 'generic'), roll it back, and return its plan."""
    text, values = positional(call)
    client = psycopg.ClientCursor(conn)
    with conn.transaction(force_rollback=True):
        conn.execute(f"set local plan_cache_mode = force_{mode}_plan")
        conn.execute(f"prepare this as {text}")
        try:
            marks = ", ".join(["%s"] * len(values))
            client.execute(f"explain (analyze, verbose, format json) execute this ({marks})", values)
            ((document,),) = client.fetchall()
        finally:
            conn.execute("deallocate this")
    ran = [node for node in _walk(document[0]["Plan"]) if node["Actual Loops"] > 0]
    return Plan(ran, document[0]["Execution Time"] + document[0]["Planning Time"])


def _walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _walk(child)


def _rows(node: dict[str, Any]) -> float:
    dropped = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Join Filter", 0)
    return (node["Actual Rows"] + dropped) * node["Actual Loops"]


def _by_key(scan: dict[str, Any]) -> bool:
    condition = scan.get("Index Cond", "")
    return any(f"{key} " in condition for key in ("id", "priority", "scheduled_at", "started_at"))
