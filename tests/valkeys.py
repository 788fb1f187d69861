"""Real servers for one test each: on 127.0.0.1, in a folder of the test's own, ended by pid."""

from __future__ import annotations

import random
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis

from pgq.embedded.binaries import find_valkey

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
        return redis.Redis(port=self.port, socket_timeout=5)

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
