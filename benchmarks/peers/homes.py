"""Where a peer's program runs: an environment of its own, made on first use, so that no two peers share anything.

They stand below `~/.cache/pgq-bench` (or XDG_CACHE_HOME), one directory a peer and version; to remove one is safe.
pgqueuer, for one, installs a command named `pgq`: beside ours it would replace it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

PROGRAMS = "benchmarks.peers.programs"
INSTALLED = "installed"  # a file that is written last
PATIENCE = 300.0  # seconds for one step of an installation


class Unavailable(Exception):  # noqa: N818 - a reason to leave a peer out, no fault
    """This peer cannot run here; the text says why."""


@dataclass(frozen=True, slots=True)
class Line:
    """How to start a program: the words, and what its environment has beside ours."""

    words: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


class Home(Protocol):
    """Something that can run the program of a peer."""

    def line(self, program: str) -> Line:
        """Return how to start it, after making what is missing. Raises Unavailable."""


@dataclass(frozen=True, slots=True)
class Here:
    """This very environment: ours."""

    def line(self, program: str) -> Line:
        """Return how to start it."""
        return Line([sys.executable, "-m", f"{PROGRAMS}.{program}"])


@dataclass(frozen=True, slots=True)
class Venv:
    """A virtual environment with pinned packages, of a Python that is new enough."""

    packages: tuple[str, ...]
    python: tuple[int, int] = (3, 11)

    def line(self, program: str) -> Line:
        """Return how to start it, after making the environment where it is missing. Raises Unavailable."""
        root = _cache() / re.sub(r"\[.*]|=+", "-", self.packages[0]).replace("--", "-")
        python = root / "bin" / "python"
        _once(root, lambda: self._make(root))
        return Line([str(python), "-m", f"{PROGRAMS}.{program}"])

    def _make(self, root: Path) -> None:
        python = next(filter(lambda found: _version(found) >= self.python, _pythons(self.python)), None)
        if python is None:
            raise Unavailable(f"needs Python {self.python[0]}.{self.python[1]} or newer, and none was found")
        _run([python, "-m", "venv", str(root)])
        _run([str(root / "bin" / "python"), "-m", "pip", "install", "-q", *self.packages])


@dataclass(frozen=True, slots=True)
class Node:
    """A directory of npm packages, with a Node of its own from the npm registry where ours is too old."""

    packages: tuple[str, ...]
    node: tuple[int, int] = (22, 12)

    def line(self, program: str) -> Line:
        """Return how to start it, after installing what is missing. Raises Unavailable."""
        root = _cache() / self.packages[0].replace("@", "-")
        _once(root, lambda: self._make(root))
        own = root / "node_modules" / "node" / "bin" / "node"
        node = str(own) if own.exists() else "node"
        script = Path(__file__).parent / "programs" / f"{program}.mjs"
        return Line([node, str(script)], {"PGQ_BENCH_NODE": str(root)})

    def _make(self, root: Path) -> None:
        if shutil.which("npm") is None or shutil.which("node") is None:
            raise Unavailable("needs Node and npm, and they were not found")
        root.mkdir(parents=True)
        (root / "package.json").write_text('{"private": true}\n')
        newer = () if _version("node") >= self.node else (f"node@{self.node[0]}",)
        _run(["npm", "install", "--silent", "--no-fund", "--no-audit", *self.packages, *newer], root)


def runtime(program: str) -> str:
    """Return what runs a program, with its version: Python 3.13.0, Node 22.23.3."""
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    return f"Node {said[1:]}" if said.startswith("v") else said


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "pgq-bench"


def _once(root: Path, make: Callable[[], None]) -> None:
    """Make a directory, unless it was made to the end before."""
    if (root / INSTALLED).exists():
        return
    shutil.rmtree(root, ignore_errors=True)
    make()
    (root / INSTALLED).touch()


def _pythons(least: tuple[int, int]) -> Iterator[str]:
    """Yield programs that may be a Python new enough: this one, those on the path, those of pyenv."""
    yield sys.executable
    for minor in range(least[1], least[1] + 6):
        if found := shutil.which(f"python{least[0]}.{minor}"):
            yield found
    pyenv = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser()
    yield from map(str, sorted(pyenv.glob("versions/3.*/bin/python3"), reverse=True))


def _version(program: str) -> tuple[int, int]:
    """Return the version that `--version` prints last; (0, 0) when it does not run."""
    done = subprocess.run([program, "--version"], check=False, capture_output=True, text=True)
    words = done.stdout.split() if done.returncode == 0 else []
    numbers = words[-1].lstrip("v").split(".") if words else []
    return (int(numbers[0]), int(numbers[1])) if len(numbers) > 1 else (0, 0)


def _run(words: Sequence[str], where: Path | None = None) -> None:
    try:
        subprocess.run(words, check=True, cwd=where, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.CalledProcessError as error:
        last = (error.stderr or error.stdout).strip().splitlines()[-1:]
        raise Unavailable(f"`{' '.join(words[:5])} …` failed: {' '.join(last)}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"`{' '.join(words[:5])} …` failed: {error}") from error
