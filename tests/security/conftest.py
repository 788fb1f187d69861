from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from people import NOBODY, ROLES, dsn_of, logins

# What tests of the public API share: workers that are served, commands that are run.
sys.path.append(str(Path(__file__).parents[1] / "flow"))


HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _importable_in_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let child processes import the apps of these folders, and pgq."""
    places = [str(HERE), str(HERE.parent / "flow"), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, places)))


@pytest.fixture(scope="session")
def names(server: str, template: str) -> Iterator[dict[str, str]]:
    """A login of each role, and one of none."""
    assert template  # made the roles
    with logins(server, NOBODY, *ROLES) as names:
        yield names


@pytest.fixture
def doors(dsn: str, names: dict[str, str]) -> dict[str, str]:
    """The DSN of each of them for this test's database."""
    return {role: dsn_of(dsn, name) for role, name in names.items()}
