from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from real_servers import Ask, Python

from pgq import embedded


@pytest.fixture(autouse=True)
def _no_inherited_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGQ_HOME", "PGQ_PG_BIN", "PGQ_REDIS_BIN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def home() -> Iterator[Path]:
    """A home that an unprivileged account can enter: pytest's own tmp_path is closed to it."""
    place = Path(tempfile.mkdtemp(prefix="pgq-test-", dir="/tmp"))
    place.chmod(0o755)
    yield place
    embedded.down(place)
    shutil.rmtree(place)


@pytest.fixture(scope="session")
def ask() -> Ask:
    """Run one statement and return its first value."""

    def value(dsn: str, statement: str) -> Any:
        with psycopg.connect(dsn) as connection:
            cursor = connection.execute(statement.encode())
            row = cursor.fetchone() if cursor.description else None
            return row and row[0]

    return value


@pytest.fixture
def python() -> Iterator[Python]:
    """Start processes that have imported pgq.embedded; their stdin ends with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: object, under: Sequence[str] = ()) -> subprocess.Popen[str]:
        program = f"import os, sys\nfrom pathlib import Path\nfrom pgq import embedded\n{code}\n"
        process = subprocess.Popen(
            [*under, sys.executable, "-c", program, *map(str, arguments)],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.communicate()
        assert process.returncode == 0
