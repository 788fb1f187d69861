"""Who runs the servers: Postgres refuses root, so root borrows an account that exists already."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from pgq.errors import EmbeddedError

with contextlib.suppress(ImportError):  # absent on Windows, which require_unix() refuses in words
    import pwd

LENDERS = ("postgres", "nobody", "daemon")


def require_unix() -> None:
    """Raise EmbeddedError on Windows."""
    if sys.platform == "win32":
        raise EmbeddedError("embedded servers need Linux or macOS: on Windows use WSL, or give a DSN")


@dataclass(frozen=True, slots=True)
class Account:
    """The user and group servers run under; `borrowed` when root runs them as somebody else."""

    uid: int
    gid: int
    name: str
    borrowed: bool

    @classmethod
    def current(cls, data: Path | None = None) -> Account:
        """Choose who runs the server of `data`: its present owner, else ourselves or an account root borrows.

        Raises EmbeddedError on Windows, and when root finds no account to borrow.
        """
        require_unix()
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid(), f"user id {os.geteuid()}", borrowed=False)
        with contextlib.suppress(OSError, KeyError):
            # `apt install postgresql` may add a better lender later: what exists keeps its owner.
            if data and (owner := pwd.getpwuid(data.stat().st_uid)).pw_uid:
                return cls(owner.pw_uid, owner.pw_gid, owner.pw_name, borrowed=True)
        for name in LENDERS:
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return cls(entry.pw_uid, entry.pw_gid, name, borrowed=True)
        raise EmbeddedError(f"root may not run Postgres and none of {', '.join(LENDERS)} exists: give a DSN")

    @property
    def user(self) -> int | None:
        """Return the user for Popen, None to stay who we are."""
        return self.uid if self.borrowed else None

    @property
    def group(self) -> int | None:
        """Return the group for Popen, None to keep ours."""
        return self.gid if self.borrowed else None

    @property
    def groups(self) -> list[int] | None:
        """Return the supplementary groups for Popen: none at all for a borrowed account."""
        return [] if self.borrowed else None

    def require_entry(self) -> None:
        """Raise EmbeddedError when this user id has no passwd entry, which initdb looks up."""
        try:
            pwd.getpwuid(self.uid)
        except KeyError:
            message = f"user id {self.uid} has no passwd entry, which initdb needs: add one, or give a DSN"
            raise EmbeddedError(message) from None

    def blocked_at(self, path: Path) -> Path | None:
        """Return the topmost part of `path` this account may not enter or run, None when it gets through."""
        parts = (*reversed(path.parents), path)
        return next((part for part in parts if not self._may_enter(part)), None)

    def _may_enter(self, path: Path) -> bool:
        if not self.borrowed:
            return os.access(path, os.X_OK)
        found = path.stat()
        shift = 6 if found.st_uid == self.uid else 3 if found.st_gid == self.gid else 0
        return bool(found.st_mode >> shift & 1)

    def make(self, path: Path) -> None:
        """Create what is missing down to `path`, open to this account; what stands stays as it is.

        Raises EmbeddedError, naming the directory, when this account cannot get there or we cannot write.
        """
        missing = [part for part in (path, *path.parents) if not part.exists()]
        standing = missing[-1].parent if missing else path
        if blocked := self.blocked_at(standing):
            raise EmbeddedError(f"{path}: {self.name} may not enter {blocked}; set PGQ_HOME to another place")
        if not os.access(standing, os.W_OK):
            raise EmbeddedError(f"{path}: we may not write to {standing}; set PGQ_HOME to another place")
        for part in reversed(missing):
            part.mkdir(exist_ok=True)
            part.chmod(0o755 if self.borrowed else 0o700)  # whatever the umask says

    def claim(self, path: Path) -> None:
        """Make `path` a directory only this account may enter; raises EmbeddedError when somebody has it."""
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()  # a socket directory below /tmp has a guessable name: never adopt a stranger's
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {self.uid, os.geteuid()}:
            raise EmbeddedError(f"{path} belongs to user id {found.st_uid}, not to {self.name}: remove it")
        self.give(path)
        path.chmod(0o700)

    def give(self, path: Path) -> None:
        """Hand `path` over when this account is borrowed; raises EmbeddedError when we may not."""
        if not self.borrowed:
            return
        try:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)
        except OSError as error:
            raise EmbeddedError(f"cannot give {path} to {self.name}: {error.strerror}") from error
