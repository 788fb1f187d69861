"""What the harness has to know of a peer; each file beside this one that defines PEER describes one."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.peers.homes import Home


@dataclass(frozen=True, slots=True)
class Peer:
    """One task queue as it is measured."""

    name: str
    version: str
    home: Home
    settings: str  # in words: what was chosen, and why
    retention: str  # in words: what is left of a task that is done
    table: str  # what scanners read; empty where it lives outside Postgres
    left: str  # asks Postgres whether fewer than %(tasks)s outcomes are committed; empty where a start is the end
    tasks: int  # of a drain: some seconds' worth
    redis: bool = False  # needs one

    @property
    def program(self) -> str:
        """The name of its program."""
        return self.name.replace("-", "_")
