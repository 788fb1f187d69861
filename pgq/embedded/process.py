"""Processes that outlive their starter: launching, waiting, reaping, and the lock that admits one starter."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pgq.embedded.account import Account
from pgq.errors import EmbeddedError

with contextlib.suppress(ImportError):  # absent on Windows, which require_unix() refuses in words
    import fcntl

POLL = 0.02  # seconds
TAIL = 2000  # characters of a log that an error quotes


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, waiting for other processes and threads; raises EmbeddedError."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise EmbeddedError(f"cannot lock {path}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


@contextmanager
def alive(path: Path, deadline: float) -> Iterator[int]:
    """Take the lock a server inherits and so holds until its last process is gone; raises EmbeddedError."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)

    def taken() -> bool:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    try:
        if not wait_until(taken, deadline):
            raise EmbeddedError(f"a server still works in {path.parent} but its socket is gone: end it by hand")
        yield file
    finally:
        os.close(file)


def run(command: Sequence[str], account: Account, directory: Path, *, env: Mapping[str, str]) -> None:
    """Run a command to its end; raises EmbeddedError with the tail of its output when it fails."""
    try:
        # fmt: off
        done = subprocess.run(
            command, cwd=directory, env=env, check=False, text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            user=account.user, group=account.group, extra_groups=account.groups,
        )
        # fmt: on
    except OSError as error:
        raise EmbeddedError(f"cannot run {command[0]} as {account.name}: {error.strerror}") from error
    if done.returncode:
        raise EmbeddedError(f"{command[0]} failed:\n{done.stdout[-TAIL:]}")


def sync(directory: Path) -> None:
    """Make a rename inside `directory` survive a power cut."""
    file = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def wait_until(condition: Callable[[], bool], deadline: float) -> bool:
    """Poll until `condition` holds; False when monotonic() passes `deadline` first."""
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL)
    return True


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return our environment for a server: in English, and without the PG* variables meant for clients."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C", **(extra or {})}


def spawn(
    command: Sequence[str], account: Account, log: Path, *, env: Mapping[str, str], keep: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a server in its own session, with output to `log` and open files `keep`; raises EmbeddedError."""
    log.touch(mode=0o600)
    try:
        with log.open("ab") as output:
            # fmt: off
            return subprocess.Popen(
                command, cwd=log.parent, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True, pass_fds=keep,
                user=account.user, group=account.group, extra_groups=account.groups,
            )
            # fmt: on
    except OSError as error:
        raise EmbeddedError(f"cannot run {command[0]} as {account.name}: {error.strerror}") from error


def detach(process: subprocess.Popen[bytes]) -> None:
    """Let a started server outlive its Popen, which would warn about a child without a return code."""
    if process.poll() is None:
        process.returncode = 0


def reap(pid: int, *, wait: bool) -> None:
    """Collect process `pid` if it is our own dead child: a zombie looks alive to a lock file."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0 if wait else os.WNOHANG)


def works_elsewhere(pid: int, directory: Path) -> bool:
    """Whether process `pid` exists without working in `directory`: a zombie, or a stranger with a reused id.

    False where it cannot be known, as on macOS, where launchd reaps every orphan.
    """
    process = Path(f"/proc/{pid}")
    if not process.exists():
        return False
    try:
        return (process / "cwd").readlink() != directory.resolve()
    except FileNotFoundError:  # what Linux says about a zombie
        return True
    except OSError:
        return False


def tail(log: Path, since: int) -> str:
    """Return the end of what was written to `log` after byte `since`."""
    with contextlib.suppress(FileNotFoundError), log.open("rb") as file:
        file.seek(since)
        return file.read().decode(errors="replace")[-TAIL:]
    return ""
