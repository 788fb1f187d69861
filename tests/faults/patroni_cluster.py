"""A Patroni cluster of our own, with the etcd it votes in: nodes may be killed, and the leader changed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from fleet import eventually
from pooler import free_port
from psycopg.conninfo import make_conninfo

from pgq.embedded import binaries, process
from pgq.embedded.account import Account

ETCD = shutil.which("etcd")
SCOPE = "pgq"
# The shortest that Patroni takes: a leader that is gone is replaced after `ttl` seconds.
PACE = {"ttl": 20, "loop_wait": 2, "retry_timeout": 3}


def program(account: Account) -> Path | None:
    """Return the Patroni that this account can run, which takes its interpreter too."""
    own = Path(sys.executable).parent / "patroni"
    if own.exists() and not account.blocked_at(Path(sys.executable).resolve()):
        return own
    found = shutil.which("patroni", path=os.defpath)
    return Path(found) if found else None


@dataclass
class Node:
    """One Patroni and its Postgres."""

    name: str
    home: Path
    port: int
    api: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def is_leader(self) -> bool:
        """Whether it says that it leads."""
        with suppress(OSError, urllib.error.HTTPError):
            return bool(urllib.request.urlopen(f"http://127.0.0.1:{self.api}/leader", timeout=2).status == 200)
        return False

    def kill(self) -> None:
        """Kill Patroni and Postgres with SIGKILL: the host is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((self.home / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)


@dataclass
class Cluster:
    """All nodes; `dsn` names every one of them, and wants the one that takes writes."""

    nodes: list[Node] = field(default_factory=list)

    @property
    def dsn(self) -> str:
        """The way to the leader."""
        hosts, ports = ",".join("127.0.0.1" for _ in self.nodes), ",".join(str(node.port) for node in self.nodes)
        return make_conninfo(
            host=hosts, port=ports, user="postgres", dbname="postgres", target_session_attrs="read-write"
        )

    def leader(self) -> Node | None:
        """Return the node that leads, if any does."""
        return next((node for node in self.nodes if node.is_leader), None)

    def members(self) -> dict[str, str]:
        """Return the role of each node that is up and in step, as any of them tells it."""
        for node in self.nodes:
            with suppress(OSError, urllib.error.HTTPError):
                told = urllib.request.urlopen(f"http://127.0.0.1:{node.api}/cluster", timeout=2).read()
                up = {"running", "streaming"}
                return {one["name"]: one["role"] for one in json.loads(told)["members"] if one["state"] in up}
        return {}

    def synchronous(self) -> bool:
        """Return whether a leader has a standby that confirms its commits."""
        return {"leader", "sync_standby"} <= set(self.members().values())

    def switch_over(self) -> None:
        """Ask for another leader, and wait until it leads."""
        old = self.leader()
        assert old is not None
        body = json.dumps({"leader": old.name}).encode()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{old.api}/switchover", body, {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(asked, timeout=60).read()  # noqa: S310 - to ourselves
        eventually(lambda: (new := self.leader()) and new.name != old.name, 40, "another leader")


@contextmanager
def cluster(count: int) -> Iterator[Cluster]:
    """Run etcd and so many nodes in synchronous mode, and remove every trace at the end."""
    home = Path(tempfile.mkdtemp(prefix="pgq-patroni-", dir="/tmp"))
    home.chmod(0o755)
    made = Cluster()
    etcd_port = free_port()
    etcd = _start_etcd(home, etcd_port)
    try:
        for number in range(1, count + 1):
            made.nodes.append(_start_node(home / f"node{number}", etcd_port))
            eventually(lambda number=number: len(made.members()) == number, 60, f"node {number}")
        eventually(made.synchronous, 40, "a synchronous standby")
        yield made
    finally:
        for node in made.nodes:
            node.kill()
        etcd.kill()
        etcd.wait()
        shutil.rmtree(home, ignore_errors=True)


def _start_etcd(home: Path, port: int) -> subprocess.Popen[bytes]:
    clients, peers = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"
    command = [str(ETCD), "--name", "one", "--data-dir", str(home / "etcd"), "--listen-client-urls", clients]
    command += ["--advertise-client-urls", clients, "--listen-peer-urls", peers]
    command += ["--initial-advertise-peer-urls", peers, "--initial-cluster", f"one={peers}", "--unsafe-no-fsync"]
    with (home / "etcd.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def _start_node(home: Path, etcd: int) -> Node:
    account = Account.current()
    account.make(home)
    account.give(home)
    node = Node(home.name, home, free_port(), free_port())
    programs = binaries.postgres_within_reach(binaries.find_postgres(), account, home / "dist")
    file = home / "patroni.yml"
    file.write_text(yaml.safe_dump(_settings(node, etcd, programs)))
    account.give(file)
    env = process.environment({"LD_LIBRARY_PATH": str(programs.parent / "lib"), "HOME": str(home)})
    command = [str(program(account)), str(file)]
    node.process = process.spawn(command, account, home / "patroni.log", env=env)
    return node


def _settings(node: Node, etcd: int, programs: Path) -> dict[str, Any]:
    api, way = f"127.0.0.1:{node.api}", f"127.0.0.1:{node.port}"
    parameters = {"max_connections": 100, "shared_buffers": "64MB", "unix_socket_directories": ""}
    rewind = {"use_pg_rewind": True, "parameters": parameters}
    return {
        "scope": SCOPE,
        "name": node.name,
        "restapi": {"listen": api, "connect_address": api},
        "etcd3": {"hosts": f"127.0.0.1:{etcd}"},
        "bootstrap": {
            "dcs": {**PACE, "synchronous_mode": True, "postgresql": rewind},
            "initdb": [{"encoding": "UTF8"}, {"locale": "C"}],
        },
        "postgresql": {
            "listen": way,
            "connect_address": way,
            "data_dir": str(node.home / "data"),
            "bin_dir": str(programs),
            "pgpass": str(node.home / "pgpass"),
            "pg_hba": ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"],
            "authentication": {
                "superuser": {"username": "postgres", "password": "ours"},
                "replication": {"username": "replicator", "password": "ours"},
            },
        },
    }
