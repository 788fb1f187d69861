"""Embedded servers: a real Postgres and a real Redis-compatible server, for trying, testing and laptops.

They outlive the process that starts them; `up` attaches to those that run, `down` ends them. Under one home:

    pg-<major>/  data, run (socket), postgres.log, postgresql.conf (written by pgq; ALTER SYSTEM wins over it)
    valkey/      data (append-only file), run (socket), valkey.log
    dist/        copies of the programs, only where their user cannot reach the installed ones
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pgq.embedded import process, sockets
from pgq.embedded.account import Account, require_unix
from pgq.embedded.cluster import Cluster
from pgq.embedded.postgres import Postgres
from pgq.embedded.valkey import Valkey
from pgq.errors import EmbeddedError

__all__ = ["EmbeddedError", "Postgres", "Servers", "Valkey", "default_home", "down", "temporary", "up"]


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the servers are; `redis_url` is empty when only Postgres was asked for."""

    dsn: str
    redis_url: str


def default_home() -> Path:
    """Return where servers keep their files: PGQ_HOME, else /var/lib/pgq for root, else the user's data."""
    require_unix()
    if chosen := os.environ.get("PGQ_HOME"):
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/var/lib/pgq")  # the account root lends its servers to cannot enter /root
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "pgq"


def up(home: Path | None = None, *, redis: bool = True, settings: Mapping[str, object] | None = None) -> Servers:
    """Start the servers, or attach to those that run; `settings` are Postgres settings for a start.

    Raises EmbeddedError, also when `home` holds a cluster of another major version only.
    """
    home = home or default_home()
    dsn = Postgres(home, settings).start().dsn
    return Servers(dsn, Valkey(home).start().url if redis else "")


def down(home: Path | None = None) -> bool:
    """Stop the servers of `home`, whoever started them; False when none ran. Raises EmbeddedError."""
    home = home or default_home()
    stopped = [Valkey(home).stop(), *(cluster.stop() for cluster in _clusters(home))]
    return any(stopped)


@contextmanager
def temporary(
    *, redis: bool = False, settings: Mapping[str, object] | None = None, bin_dir: Path | None = None
) -> Iterator[Servers]:
    """Run servers of their own for tests and benchmarks, and remove every trace at the end.

    `settings` are Postgres settings; `bin_dir` holds initdb and postgres. Raises EmbeddedError.
    """
    home = _temporary_home()
    try:
        dsn = Postgres(home, settings, bin_dir=bin_dir).start().dsn
        yield Servers(dsn, Valkey(home).start().url if redis else "")
    finally:
        Valkey(home).kill()
        for cluster in _clusters(home):
            cluster.stop(signal.SIGQUIT)
        process.wait_until(lambda: _removed(home), time.monotonic() + 10)


def _clusters(home: Path) -> list[Cluster]:
    return [Cluster(root) for root in home.expanduser().resolve().glob("pg-*")]


def _temporary_home() -> Path:
    account = Account.current()
    places = (Path(tempfile.gettempdir()).resolve(), Path("/tmp"))  # noqa: S108 - mkdtemp makes its own below it
    short = (place for place in places if len(os.fsencode(place)) <= sockets.LIMIT - 40)
    place = next((place for place in short if not account.blocked_at(place)), None)
    home = Path(tempfile.mkdtemp(prefix="pgq-", dir=place))
    home.chmod(0o755 if account.borrowed else 0o700)
    return home


def _removed(home: Path) -> bool:
    """Remove `home`; False while orphans of a killed server still write there."""
    shutil.rmtree(home, ignore_errors=True)
    return not home.exists()
