"""Real servers for one test each: alone, as a cluster, or watched by a sentinel.

All on 127.0.0.1, in a folder of the test's own, ended by pid.
"""

from __future__ import annotations

import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from pgq.embedded.binaries import find_valkey

SLOTS = 16_384  # of a cluster
QUIET = {"save": '""', "appendonly": "no", "bind": "127.0.0.1", "repl-diskless-sync-delay": 0}


def eventually(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """Return the first true answer; fail at the deadline."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
    return found


def free_port() -> int:
    """Return a port that is free, and the one that a cluster's bus would take, ten thousand above it."""
    while True:
        port = random.randint(20_000, 32_000)
        with suppress(OSError), socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", port))
            two.bind(("127.0.0.1", port + 10_000))
            return port


class Server:
    """One process; `settings` go into its configuration file."""

    def __init__(self, folder: Path, settings: dict[str, object] | None = None, *, mode: tuple[str, ...] = ()) -> None:
        self.port = free_port()
        self._mode = mode
        self._folder = folder / str(self.port)
        self._folder.mkdir(parents=True)
        words = {**({} if mode else QUIET), "port": self.port, "dir": self._folder, **(settings or {})}
        self._file = self._folder / "server.conf"
        self._file.write_text("".join(f"{name} {value}\n" for name, value in words.items()))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> Server:
        """Start it and wait until it answers."""
        command = [str(find_valkey()), str(self._file), *self._mode]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)
        eventually(self._answers)
        return self

    def client(self) -> Any:
        """Return a plain client, for what a test does behind the product's back."""
        return redis.Redis(host="127.0.0.1", port=self.port, socket_timeout=5)

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        with suppress(redis.RedisError), self.client() as client:
            return bool(client.ping())
        return False


@contextmanager
def clustered(folder: Path, count: int) -> Iterator[list[Server]]:
    """Run the nodes of a cluster that is complete."""
    nodes = [Server(folder, {"cluster-enabled": "yes", "cluster-node-timeout": 2000}) for _ in range(count)]
    try:
        for node in nodes:
            node.start()
        _join(nodes)
        yield nodes
    finally:
        for node in nodes:
            node.kill()


def url_of(nodes: list[Server]) -> str:
    """Return the URL of a cluster."""
    return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)


def _join(nodes: list[Server]) -> None:
    for number, node in enumerate(nodes):
        with node.client() as client:
            share = range(number * SLOTS // len(nodes), (number + 1) * SLOTS // len(nodes))
            client.execute_command("CLUSTER", "ADDSLOTS", *share)
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)
    for node in nodes:
        with node.client() as client:
            eventually(lambda client=client: _complete(client, len(nodes)))


def _complete(client: Any, count: int) -> bool:
    found = client.execute_command("CLUSTER INFO")
    return bool(found["cluster_state"] == "ok" and found["cluster_known_nodes"] == str(count))


@dataclass(frozen=True, slots=True)
class Pair:
    """A server, its replica, and the URL by which a sentinel leads to the one of them that is in charge."""

    first: Server
    second: Server
    url: str


@contextmanager
def watched(folder: Path) -> Iterator[Pair]:
    """Run a pair whose second takes over within a second or two of the first's death."""
    first = Server(folder).start()
    second = Server(folder, {"replicaof": f"127.0.0.1 {first.port}"}).start()
    settings = {
        "bind": "127.0.0.1",
        "sentinel monitor limits": f"127.0.0.1 {first.port} 1",
        "sentinel down-after-milliseconds limits": 500,
        "sentinel failover-timeout limits": 5000,
    }
    sentinel = Server(folder, settings, mode=("--sentinel",)).start()
    try:
        with sentinel.client() as client:
            eventually(lambda: client.execute_command("SENTINEL", "REPLICAS", "limits"))
        with second.client() as client:
            eventually(lambda: client.info("replication")["master_link_status"] == "up")
        yield Pair(first, second, f"redis+sentinel://127.0.0.1:{sentinel.port}/limits")
    finally:
        for server in (sentinel, second, first):
            server.kill()
