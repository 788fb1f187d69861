"""Releases to come: copies of the code and its SQL with a further migration, made for one test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Release:
    """A copy of the project below `root`."""

    root: Path

    @property
    def env(self) -> dict[str, str]:
        """What a process needs to run this release in place of the installed one."""
        return {"PYTHONPATH": os.pathsep.join((str(HERE), str(self.root)))}

    def edit(self, file: str, old: str, new: str) -> None:
        """Change a file of it."""
        path = self.root / file
        text = path.read_text()
        assert old in text, (file, old)
        path.write_text(text.replace(old, new))

    def add(self, file: str, text: str) -> None:
        """Add a file to it."""
        (self.root / file).write_text(text)

    def migrating(self, dsn: str) -> subprocess.Popen[str]:
        """Start `pgq migrate` of it."""
        command = [sys.executable, "-m", "pgq.cli", "migrate", "--dsn", dsn]
        return subprocess.Popen(
            command,
            cwd=self.root,
            env={**os.environ, **self.env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def copy_of(release: Path, root: Path) -> Release:
    """Copy a release."""
    root.mkdir()
    for part in ("pgq", "sql"):
        shutil.copytree(release / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    return Release(root)


def next_release(root: Path) -> Release:
    """Return one that adds a column, replaces a function, and still serves workers of this release."""
    release = copy_of(ROOT, root)
    release.add("sql/migrations/0002_note.sql", "alter table pgq.tasks add column note text;\n")
    release.edit("sql/functions/enqueue.sql", "  due timestamptz;\nbegin\n", "  due timestamptz;\nbegin -- the next\n")
    release.edit("sql/queries/complete.sql", "    lease = null\n", "    lease = null,\n    note = 'by the next'\n")
    return release


def incompatible_release(root: Path, previous: Release) -> Release:
    """Return one after it that no worker of this release can work with."""
    release = copy_of(previous.root, root)
    release.add("sql/migrations/0003_break.sql", "alter table pgq.tasks rename column note to remark;\n")
    release.edit("sql/queries/complete.sql", "    note = ", "    remark = ")
    release.edit("pgq/migrate.py", "REQUIRES = 1\n", "REQUIRES = 3\n")
    return release
