"""One Postgres cluster on disk, seen from outside: any process can ask whether it runs, and end it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from urllib.parse import quote

from pgq.embedded import process, sockets

SOCKET = ".s.PGSQL.5432"
SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"  # answered with one byte, before any login


class Cluster:
    """The files of one cluster below `root`: data, sockets, log and lock."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "data"
        self.config = root / "postgresql.conf"
        self.log = root / "postgres.log"
        self.lock = root / "lock"
        self.sockets = sockets.directory_for(root / "run", SOCKET)

    @property
    def dsn(self) -> str:
        """Return the URI of the superuser's database, over the unix socket."""
        return f"postgresql://postgres@/postgres?host={quote(str(self.sockets))}&port=5432"

    @property
    def running(self) -> bool:
        """Whether a postmaster listens, ready or not."""
        return sockets.listening(self.sockets / SOCKET)

    @property
    def ready(self) -> bool:
        """Whether recovery is over and a login would be let in."""
        status = self._pid_file()[7:8]
        if not status or status[0].strip() not in {"ready", "standby"}:
            return False
        return sockets.ask(self.sockets / SOCKET, SSL_REQUEST)[:1] in {b"N", b"S"}

    @property
    def pid(self) -> int | None:
        """Return the postmaster's process id, also a dead one's that left its file behind."""
        lines = self._pid_file()
        return abs(int(lines[0])) if lines else None

    def _running_pid(self) -> int | None:
        pid = self.pid if self.running else None
        return None if pid and process.works_elsewhere(pid, self.data) else pid

    def _pid_file(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return (self.data / "postmaster.pid").read_text().splitlines()
        return []

    def drop_stale_locks(self) -> None:
        """Remove lock files whose process is a zombie or a stranger: Postgres would never start."""
        for file in (self.data / "postmaster.pid", self.sockets / f"{SOCKET}.lock"):
            with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
                pid = abs(int(file.read_text().split()[0]))
                process.reap(pid, wait=False)
                if process.works_elsewhere(pid, self.data):
                    file.unlink()

    def stop(self, how: signal.Signals = signal.SIGINT, timeout: float = 30) -> bool:
        """Shut down with SIGINT (fast) or SIGQUIT (immediate); False when it did not run.

        After `timeout` seconds the shutdown becomes immediate.
        """
        if not self.root.exists():
            return False
        with process.locked(self.lock):
            pid = self._running_pid()
            if not pid:
                return False
            for sent in (how, signal.SIGQUIT):
                os.kill(pid, sent)
                if process.wait_until(lambda: not self._pid_file(), time.monotonic() + timeout):
                    break
            process.reap(pid, wait=True)
            return True

    def kill(self) -> None:
        """Kill the postmaster with SIGKILL, as a crash would; its children notice and leave."""
        pid = self._running_pid()
        if not pid:
            return
        os.kill(pid, signal.SIGKILL)
        process.reap(pid, wait=True)
        process.wait_until(lambda: not self.running, time.monotonic() + 10)
