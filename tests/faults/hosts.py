"""Several hosts on one machine: network namespaces, each with a link of its own that can be cut."""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo
from servers import SETTINGS

from pgq import embedded

IP = shutil.which("ip") or shutil.which("/usr/sbin/ip") or ""


def ip(*words: str) -> None:
    """Carry out one `ip` command. Raises subprocess.CalledProcessError."""
    subprocess.run([IP, *words], check=True, capture_output=True, text=True)


@dataclass(frozen=True)
class Host:
    """A namespace; `near` is the server's end of its link, at `address`."""

    name: str
    near: str
    address: str

    @property
    def under(self) -> tuple[str, ...]:
        """What to put before a command that shall run there."""
        return (IP, "netns", "exec", self.name)

    def cut(self, server: psycopg.Connection | None = None) -> None:
        """Let no packet pass, so that nobody is told; with `server`, its connections are ended just before."""
        if server is not None:
            server.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where client_addr = any(%s::inet[])",
                ([f"{self.address[:-1]}2"],),
            )
        ip("link", "set", self.near, "down")

    def mend(self) -> None:
        """Let packets pass again."""
        ip("link", "set", self.near, "up")


@contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """Make so many hosts, and remove them at the end. Raises subprocess.CalledProcessError where that is forbidden."""
    number = random.randint(1, 250)
    made: list[Host] = []
    try:
        for place in range(1, count + 1):
            name = f"pgq{number}h{place}"
            ip("netns", "add", name)
            made.append(Host(name, f"{name}n", f"10.{number}.{place}.1"))
            _link(made[-1])
        yield made
    finally:
        for host in made:
            subprocess.run([IP, "netns", "delete", host.name], check=False, capture_output=True)
            subprocess.run([IP, "link", "delete", host.near], check=False, capture_output=True)


def _link(host: Host) -> None:
    far = f"{host.name}f"
    ip("link", "add", host.near, "type", "veth", "peer", "name", far)
    ip("link", "set", far, "netns", host.name)
    ip("address", "add", f"{host.address}/24", "dev", host.near)
    ip("link", "set", host.near, "up")
    ip("-n", host.name, "address", "add", f"{host.address[:-1]}2/24", "dev", far)
    ip("-n", host.name, "link", "set", far, "up")
    ip("-n", host.name, "link", "set", "lo", "up")


@contextmanager
def server_for(made: list[Host]) -> Iterator[embedded.Postgres]:
    """Run a durable server that listens at the near end of each host's link."""
    home = Path(tempfile.mkdtemp(prefix="pgq-hosts-", dir="/tmp"))
    home.chmod(0o755)
    rules = home / "pg_hba.conf"
    rules.write_text("local all all trust\nhost all all 10.0.0.0/8 trust\n")
    rules.chmod(0o644)
    addresses = ",".join(host.address for host in made)
    try:
        yield embedded.Postgres(home, {**SETTINGS, "listen_addresses": addresses, "hba_file": rules}).start()
    finally:
        embedded.down(home)
        shutil.rmtree(home, ignore_errors=True)


def dsn_from(host: Host, dsn: str) -> str:
    """Return the way to a database from a host."""
    return make_conninfo(dsn, host=host.address, port=5432)
