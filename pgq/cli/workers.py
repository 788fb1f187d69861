"""`pgq workers`: the worker processes."""

from __future__ import annotations

import click

from pgq.cli.options import dsn_option, json_option
from pgq.cli.output import about, echo_json, echo_table, names
from pgq.cli.session import database

COLUMNS = ("ID", "NAME", "HOST", "PID", "STATE", "RUNNING", "UP", "HEARD", "VERSION", "QUEUES")


@click.command()
@click.option("--queue", help="Only those that serve this queue.")
@json_option
@dsn_option
def workers(queue: str | None, as_json: bool, dsn: str | None) -> None:
    """List the worker processes, and whether they live.

    HEARD is how long ago the last heartbeat was; one that is silent for longer than its lease counts as dead, its
    tasks are given back and its line goes away. The same as `select * from pgq.worker_stats`.

    \b
    Examples:
      pgq workers
      pgq workers --queue email --json
    """
    from dataclasses import asdict

    from pgq.cli.rows import WorkerRow, fetch

    with database(dsn) as conn:
        found = fetch(conn, WorkerRow, "list_workers", {"queue": queue})
    if as_json:
        echo_json([{**asdict(row), "state": row.state} for row in found])
        return
    lines = [
        (r.id, r.name, r.host, r.pid, r.state, f"{r.running}/{r.concurrency}",
         about((r.heartbeat_at - r.started_at).total_seconds() + r.silent_for), about(r.silent_for), r.version,
         names(r.queues))
        for r in found
    ]  # fmt: skip
    none = "No worker is running: start one with `pgq worker module:app`."
    echo_table(lines, COLUMNS, none=none if queue is None else f"No worker serves queue {queue!r}.")
