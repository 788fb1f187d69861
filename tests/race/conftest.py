"""Sessions for races: `conn` watches and commits each statement; `ann` and `bob` are in a transaction.

The watcher looks past any pooler: it holds locks for longer than a transaction.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from pooler import UNPREPARED


@pytest.fixture
def conn(direct_dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(direct_dsn, autocommit=True) as conn:
        yield conn


@pytest.fixture
def ann(dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn, prepare_threshold=UNPREPARED) as conn:
        yield conn


@pytest.fixture
def bob(dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn, prepare_threshold=UNPREPARED) as conn:
        yield conn
