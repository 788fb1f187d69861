"""The SQL files: read once, by name. In a wheel they lie inside the package, in a checkout beside it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_INSIDE = Path(__file__).parent / "sql"
ROOT = _INSIDE if _INSIDE.is_dir() else Path(__file__).parent.parent / "sql"


@cache
def query(name: str) -> str:
    """Return the text of `sql/queries/<name>.sql` without its header comment."""
    lines = (ROOT / "queries" / f"{name}.sql").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not line.startswith("--"))


def files(folder: str) -> list[Path]:
    """Return the .sql files of `sql/<folder>`, in order of their names."""
    return sorted((ROOT / folder).glob("*.sql"))
