"""The lock file holds every dependency with hashes, and what is known of one fails the checks."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements" / "lock.txt").read_text("utf-8")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def named(requirement: str) -> str:
    """Return the distribution that a requirement names."""
    return re.split(r"[\[<>=~!; ]", requirement)[0].lower().replace("_", "-")


def test_each_dependency_of_each_extra_is_locked() -> None:
    wanted = {
        named(one) for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()) for one in group
    }
    locked = set(re.findall(r"^([a-z0-9][a-z0-9.-]*)==", LOCK, re.MULTILINE))
    assert wanted - locked == {"pgq-tasks"}


def test_each_locked_file_has_a_hash() -> None:
    for entry in re.split(r"\n(?=[a-z0-9])", LOCK):
        assert "--hash=sha256:" in entry, entry[:80]


def test_what_is_known_fails_and_what_is_not_looked_up_is_said() -> None:
    verdict = runpy.run_path(str(ROOT / ".ci" / "audit.py"))["verdict"]
    clean = {"name": "click", "version": "8.1", "vulns": []}
    skipped = {"name": "redis", "skip_reason": "not found"}
    bad = {"name": "jinja2", "version": "3.1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.2"]}]}
    assert verdict([clean]) == (["1 of 1 locked dependencies looked up: 0 findings"], 0)
    lines, code = verdict([clean, skipped, bad])
    assert code == 1
    assert lines == [
        "jinja2 3.1: PYSEC-1, fixed in 3.2",
        "2 of 3 locked dependencies looked up: 1 findings",
        "NOT looked up, for the vulnerability service does not answer: redis",
    ]
