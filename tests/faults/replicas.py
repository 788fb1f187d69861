"""A primary and its standby, and what of the primary's log the standby had received when the primary died."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic_ns

import psycopg
from fleet import children_of, eventually
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from servers import SETTINGS

from pgq import embedded
from pgq.embedded import binaries, process
from pgq.embedded.account import Account

RECORD = re.compile(r"tx:\s+(\d+), lsn: ([0-9A-F]+/[0-9A-F]+), .* desc: (\w+)")


@dataclass
class Pair:
    """Two servers, the second a hot standby of the first; `dsn` names both, and wants the one that takes writes."""

    primary: embedded.Postgres
    standby: embedded.Postgres
    programs: Path
    primary_data: Path

    def dsn_of(self, database: str) -> str:
        """Return the DSN of a database on whichever of the two takes writes."""
        first, second = (conninfo_to_dict(server.dsn) for server in (self.primary, self.standby))
        return make_conninfo(
            user="postgres",
            dbname=database,
            host=f"{first['host']},{second['host']}",
            port=f"{first['port']},{second['port']}",
            target_session_attrs="read-write",
        )

    def hold_replication(self) -> None:
        """Let nothing more reach the standby: the process that would send it stands still."""
        with psycopg.connect(self.primary.dsn) as conn:
            ((pid,),) = conn.execute("select pid from pg_stat_replication where state = 'streaming'").fetchall()
        os.kill(pid, signal.SIGSTOP)

    def lose_primary(self) -> tuple[int, int]:
        """Kill the primary with all its processes, as the loss of its machine would.

        Returns when it was dead (nanoseconds), and the place in the log up to which the standby received.
        """
        postmaster = int((self.primary_data / "postmaster.pid").read_text().split()[0])
        backends = children_of(postmaster)
        self.primary.kill()
        for pid in backends:  # a commit that waits for the standby would outlive the postmaster
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        dead = monotonic_ns()
        with psycopg.connect(self.standby.dsn, autocommit=True) as conn:
            conn.execute("select pg_promote()")
            eventually(lambda: not conn.execute("select pg_is_in_recovery()").fetchall()[0][0], 15, "the promotion")
            ((history,),) = conn.execute("select pg_read_file('pg_wal/00000002.history')").fetchall()
        return dead, place(history.split()[1])  # where its own part of the log begins

    def commits(self, since: str) -> dict[int, int]:
        """Return where in the primary's log the commit of each transaction ends; the primary may be dead."""
        dump = [self.programs / "pg_waldump", "--path", self.primary_data / "pg_wal", "--start", since]
        told = subprocess.run(dump, check=False, capture_output=True, text=True).stdout  # it ends at the log's torn end
        found: dict[int, int] = {}
        committed = None
        for xid, lsn, what in (match.groups() for match in map(RECORD.search, told.splitlines()) if match):
            if committed is not None:
                found[committed] = place(lsn)  # a record ends where the next begins
            committed = int(xid) if what == "COMMIT" else None
        if committed is not None:
            found[committed] = 2**64
        return found


def place(lsn: str) -> int:
    """Return a place in the log as a number."""
    high, low = lsn.split("/")
    return (int(high, 16) << 32) + int(low, 16)


@contextmanager
def pair(settings: Mapping[str, object]) -> Iterator[Pair]:
    """Run a durable primary and its standby, and remove every trace at the end."""
    home = Path(tempfile.mkdtemp(prefix="pgq-pair-", dir="/tmp"))
    home.chmod(0o755)
    homes = [home / name for name in ("one", "two")]
    try:
        for one in homes:
            one.mkdir(mode=0o755)
        yield _start(*homes, {**SETTINGS, **settings})
    finally:
        for one in homes:
            embedded.down(one)
        shutil.rmtree(home, ignore_errors=True)


def _start(first: Path, second: Path, settings: Mapping[str, object]) -> Pair:
    primary = embedded.Postgres(first, settings).start()
    (cluster,) = first.glob("pg-*")
    programs = binaries.find_postgres()
    root, account = second / cluster.name, Account.current(cluster / "data")
    programs = binaries.postgres_within_reach(programs, account, first / "dist")
    account.make(root)
    account.give(root)
    library = {"LD_LIBRARY_PATH": str(programs.parent / "lib")}
    command = [programs / "pg_basebackup", "-D", root / "data", "-d", primary.dsn, "-c", "fast"]
    process.run([*map(str, command)], account, root, env=process.environment(library))
    signal_file = root / "data" / "standby.signal"
    signal_file.touch()
    account.give(signal_file)
    way = make_conninfo(primary.dsn, application_name="standby")
    standby = embedded.Postgres(second, {**settings, "primary_conninfo": way}).start()
    return Pair(primary, standby, programs, cluster / "data")
