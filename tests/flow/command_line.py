"""The command line in this process, for speed, and as processes of its own, for signals and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

import psycopg
from click.testing import CliRunner, Result

from pgq.cli.__main__ import cli

CHOICES = (
    "PGQ_DSN", "DATABASE_URL", "PGQ_REDIS_URL", "PGQ_HOME", "PGQ_PG_BIN", "PGQ_WORKER_NAME", "PGQ_LOG_FORMAT",
    "PGQ_LOG_LEVEL",
)  # fmt: skip


def invoke(*words: object, env: dict[str, str | None] | None = None, stdin: str | None = None) -> Result:
    """Run a command in this process, without what the environment says about servers."""
    clean = dict.fromkeys(CHOICES) | (env or {})
    return CliRunner(env=clean, catch_exceptions=False).invoke(cli, [str(word) for word in words], input=stdin)


def succeed(*words: object, **options: Any) -> str:
    """Run a command that must succeed without a complaint; returns its output."""
    result = invoke(*words, **options)
    assert (result.exit_code, result.stderr) == (0, ""), (
        f"exit {result.exit_code} of {words}: {result.stderr or result.exception!r}"
    )
    return result.stdout


def refuse(*words: object, code: int = 1, **options: Any) -> str:
    """Run a command that must be refused without output; returns its one sentence (its usage for code 2)."""
    result = invoke(*words, **options)
    assert (result.exit_code, result.stdout) == (code, "")
    if code == 1:
        assert result.stderr.startswith("pgq: ")
        assert result.stderr.count("\n") == 1
    return result.stderr


def document(*words: object) -> Any:
    """Run a command with --json and return what it printed."""
    return json.loads(succeed(*words, "--json"))


def statuses(conn: psycopg.Connection, *ids: int) -> list[str]:
    """Return the statuses of tasks, in the order given."""
    query = "select status::text from pgq.tasks join unnest(%s::bigint[]) with ordinality as t (id, place) using (id)"
    return [status for (status,) in conn.execute(f"{query} order by place", (list(ids),))]


def start(*words: object, **options: Any) -> subprocess.Popen[str]:
    """Start a command as a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in CHOICES}
    return subprocess.Popen(
        [sys.executable, "-m", "pgq.cli", *map(str, words)],
        env=environment | options.pop("env", {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finish(process: subprocess.Popen[str], seconds: float = 30) -> tuple[int, str, str]:
    """Wait for a process; returns its exit code and what it said on stdout and stderr."""
    try:
        stdout, stderr = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.returncode, stdout, stderr


def until(reached: Callable[[], Any], seconds: float = 15) -> Any:
    """Wait until a condition holds and return what it returned."""
    ends = monotonic() + seconds
    while not (result := reached()):
        assert monotonic() < ends, f"not reached within {seconds} s"
        sleep(0.01)
    return result
