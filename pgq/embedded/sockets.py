"""Unix sockets: where they fit, who listens, what they answer."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

LIMIT = 100  # bytes of a socket's path; the system's own limit is 107 on Linux and 103 on macOS
PATIENCE = 2.0  # seconds


def directory_for(wanted: Path, name: str) -> Path:
    """Return `wanted`, or a short directory below /tmp when the path of socket `name` would not do."""
    fits = len(os.fsencode(wanted / name)) <= LIMIT
    if fits and "," not in str(wanted):  # libpq reads a comma as the next host
        return wanted
    digest = hashlib.sha256(os.fsencode(wanted)).hexdigest()
    return Path("/tmp") / f"pgq-{digest[:16]}"  # noqa: S108 - Account.claim() refuses a stranger's directory


def listening(path: Path) -> bool:
    """Whether a process listens at `path`; a frozen one still does."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        try:
            client.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except (BlockingIOError, TimeoutError):  # its queue of connections is full
            return True
    return True


def ask(path: Path, question: bytes) -> bytes:
    """Return the first bytes answered to `question`, none when nobody answers in time."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        try:
            client.connect(str(path))
            client.sendall(question)
            return client.recv(64)
        except OSError:
            return b""
