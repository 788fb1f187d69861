"""Worker processes of a scenario: start, kill, stop, and read what they said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
from ledger import Ledger

HERE = Path(__file__).parent


@dataclass
class Fleet:
    """Worker processes on one database, of one app; `settings` become PGQ_* of each."""

    dsn: str
    ledger: Ledger
    logs: Path
    settings: Mapping[str, object] = field(default_factory=dict)
    app: str = "fault_app"
    way: str = ""  # the workers' DSN, where it is another
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(
        self, *arguments: str, under: Sequence[str] = (), dsn: str = "", env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a worker, or what the arguments say."""
        variables = {f"PGQ_{name.upper()}": str(value) for name, value in self.settings.items()}
        paths = {"PYTHONPATH": os.pathsep.join((str(HERE), str(HERE.parents[1])))}
        ours = {
            "PGQ_DSN": dsn or self.way or self.dsn,
            "FAULT_LEDGER": str(self.ledger.folder),
            "FAULT_APP": self.app,
            **paths,
        }
        command = [*under, sys.executable, str(HERE / "run_worker.py"), *(arguments or ("worker",))]
        with (self.logs / "workers.log").open("ab") as log:
            process = subprocess.Popen(
                command, env={**os.environ, **variables, **ours, **(env or {})}, stdout=log, stderr=log
            )
        self.processes.append(process)
        return process

    def staff(self, count: int, **how: Any) -> None:
        """Start workers, and wait until all are there; on a busy machine that takes a while."""
        before = registered(self.dsn)
        for _ in range(count):
            self.start(**how)
        eventually(lambda: registered(self.dsn) == before + count, 60, f"the start of {count} workers")

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill a worker with SIGKILL."""
        kill_pid(process.pid, self.ledger)
        process.wait()
        self.processes.remove(process)

    def stop(self, process: subprocess.Popen[bytes], seconds: float = 20) -> int:
        """Stop a worker politely and return its exit code."""
        process.send_signal(signal.SIGTERM)
        self.processes.remove(process)
        return process.wait(seconds)

    def close(self) -> None:
        """End what is left."""
        for process in self.processes:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()

    @property
    def log(self) -> str:
        """What all of them said so far."""
        return (self.logs / "workers.log").read_text(errors="replace")


def kill_pid(pid: int, ledger: Ledger) -> None:
    """Kill a process with SIGKILL and note the moment."""
    os.kill(pid, signal.SIGKILL)
    ledger.killed(pid)


def cpu_seconds(pid: int) -> float:
    """Return how much processor time a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def alive(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children_of(pid: int) -> list[int]:
    """Return the ids of a process's living children."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(stat.parent.name))
    return found


def eventually(reached: Callable[[], object], seconds: float, what: str = "it") -> None:
    """Wait until a condition holds."""
    ends = monotonic() + seconds
    while not reached():
        assert monotonic() < ends, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)


def registered(dsn: str) -> int:
    """Return how many workers are counted in."""
    with psycopg.connect(dsn) as conn:
        return int(conn.execute("select count(*) from pgq.workers").fetchall()[0][0])
