"""What a stretch of work cost: CPU time and memory from Linux's /proc, WAL and transactions from Postgres."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import psycopg

PROC = Path("/proc")
FORCED = 150_000  # before that version a session tells what it did half a second later, and not when asked
TICK = os.sysconf("SC_CLK_TCK")
_NOW = """
select
  pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint,
  pg_snapshot_xmax(pg_current_snapshot())::text::bigint
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters at one moment: seconds, bytes of WAL, transaction ids given out, seconds of CPU."""

    at: float
    wal: int
    xids: int
    server_cpu: float
    client_cpu: float

    def __add__(self, other: Reading) -> Reading:
        return Reading(
            self.at + other.at,
            self.wal + other.wal,
            self.xids + other.xids,
            self.server_cpu + other.server_cpu,
            self.client_cpu + other.client_cpu,
        )

    def __sub__(self, earlier: Reading) -> Reading:
        return Reading(
            self.at - earlier.at,
            self.wal - earlier.wal,
            self.xids - earlier.xids,
            self.server_cpu - earlier.server_cpu,
            self.client_cpu - earlier.client_cpu,
        )


class Gauge:
    """Reads the counters of the server behind `conn` and of our own processes `pids`.

    The server's CPU time is nan when it does not run on this host.
    """

    def __init__(self, conn: psycopg.Connection, pids: Iterable[int]) -> None:
        self._conn = conn
        self._pids = list(pids)
        self._postmaster = postmaster(conn)

    def read(self) -> Reading:
        """Read everything, Postgres first."""
        ((wal, xids),) = self._conn.execute(_NOW, prepare=True).fetchall()
        server = server_cpu(self._postmaster) if self._postmaster else float("nan")
        return Reading(monotonic(), wal, xids, server, sum(cpu(pid) for pid in self._pids))


def costs(spent: Reading, tasks: int, who: str) -> dict[str, float]:
    """Return the figures that stand beside every rate; `who` names our own processes."""
    found = {
        "wal_bytes_per_task": spent.wal / tasks,
        "server_cpu_s_per_10k": spent.server_cpu * 10_000 / tasks,
        f"{who}_cpu_s_per_10k": spent.client_cpu * 10_000 / tasks,
    }
    return {name: value for name, value in found.items() if not math.isnan(value)}


def commits(conn: psycopg.Connection) -> int:
    """Return the committed transactions of this database; sessions report theirs at the latest when they end."""
    tell_counts(conn)
    conn.execute("select pg_stat_clear_snapshot()")
    ((count,),) = conn.execute("select xact_commit from pg_stat_database where datname = current_database()").fetchall()
    return int(count)


def tell_counts(conn: psycopg.Connection) -> None:
    """Have what this session did counted by the server now."""
    if conn.info.server_version >= FORCED:
        conn.execute("select pg_stat_force_next_flush()")
    else:
        sleep(0.6)
        conn.execute("select 1")


def machine_cpu() -> float:
    """Return the CPU seconds of everything that ran on this host; those of idling and waiting are not counted."""
    user, nice, system, _, _, *rest = (PROC / "stat").read_text().splitlines()[0].split()[1:9]
    return sum(int(field) for field in (user, nice, system, *rest)) / TICK


def cpu(pid: int) -> float:
    """Return the CPU seconds of a process, all its threads; 0 when it is gone."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICK if fields else 0.0


def server_cpu(postmaster_pid: int) -> float:
    """Return the CPU seconds of a Postgres server: postmaster, living children, and ended ones."""
    own = _stat(postmaster_pid)
    ticks = sum(int(field) for field in own[11:15])
    for pid in _pids():
        fields = _stat(pid)
        if fields and int(fields[1]) == postmaster_pid:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICK


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for child in _pids():
        if fields := _stat(child):
            parents.setdefault(int(fields[1]), []).append(child)
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def peak_rss(pid: int) -> float:
    """Return the most memory a process has had resident, in MB (shared libraries included)."""
    return _memory(pid, "VmHWM:")


def rss(pid: int) -> float:
    """Return the memory a process has resident now, in MB (shared libraries included)."""
    return _memory(pid, "VmRSS:")


def open_files(pid: int) -> int:
    """Return how many files and sockets a process has open."""
    return len(list((PROC / str(pid) / "fd").iterdir()))


def postmaster(conn: psycopg.Connection) -> int | None:
    """Return the server's main process, None when it is not on this host."""
    fields = _stat(conn.info.backend_pid)
    parent = int(fields[1]) if fields else 0
    same_host = conn.info.host.startswith("/") or conn.info.hostaddr in {"127.0.0.1", "::1"}
    return parent if same_host and parent and _name(parent) == "postgres" else None


def _name(pid: int) -> str:
    return (PROC / str(pid) / "comm").read_text().strip()


def _memory(pid: int, label: str) -> float:
    for line in (PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith(label):
            return int(line.split()[1]) / 1024
    return float("nan")


def _pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the third (state) on; none when the process is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return []
