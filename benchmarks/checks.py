"""What tests found that were run at length, kept beside the figures of a result: one line of JSON a run.

A test that can be run longer than it usually is (more traces, more faults) says what it found when the variable
PGQ_KEEP names the directory of a result; the summary of that result shows it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.manifest import origin
from benchmarks.results import number

FILE = "checks.jsonl"
Figures = Mapping[str, float]


def keep(directory: Path, check: str, command: str, figures: Figures) -> None:
    """Add what one run of a check found."""
    directory.mkdir(parents=True, exist_ok=True)
    record = {"check": check, **origin(command), "figures": dict(figures)}
    with (directory / FILE).open("a") as file:
        file.write(json.dumps(record) + "\n")


def read(directory: Path) -> list[dict[str, Any]]:
    """Return what is kept there, in the order in which it came."""
    path = directory / FILE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def tables(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a table for each check: a row for each run, and where there are several their sum."""
    checks = dict.fromkeys(record["check"] for record in records)
    return [line for check in checks for line in _table(check, [one for one in records if one["check"] == check])]


def _table(check: str, records: Sequence[Mapping[str, Any]]) -> list[str]:
    names = list(dict.fromkeys(name for record in records for name in record["figures"]))
    lines = [f"## {check}", "", "| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for record in records:
        changed = f" with {len(record['changed_files'])} changed files" if record["changed_files"] else ""
        where = f"`{record['command']}` at {record['started_at']}, commit {record['commit'][:12] or 'unknown'}{changed}"
        lines.append(_row(where, [record["figures"].get(name) for name in names]))
    if len(records) > 1:
        lines.append(_row("in all", [_sum(name, records) for name in names]))
    return [*lines, ""]


def _row(title: str, values: Sequence[float | None]) -> str:
    return f"| {title} | " + " | ".join("" if value is None else number(float(value)) for value in values) + " |"


def _sum(name: str, records: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the sum of a count; None for what is no count."""
    if name.endswith(("_s", "_max", "_p50", "_seed")):
        return None
    return float(sum(record["figures"].get(name, 0) for record in records))
