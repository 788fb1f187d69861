"""`pgq audit`: who steered what."""

from __future__ import annotations

from typing import Any

import click

from pgq.cli.options import dsn_option, duration, json_option, limit_option
from pgq.cli.output import echo_json, echo_table
from pgq.cli.session import database

COLUMNS = ("ID", "AT", "WHO", "DID", "QUEUE", "COUNT", "WHAT", "NOTE")


@click.command()
@click.option("--queue", help="Only this queue.")
@click.option("--action", help="Only this: pause, resume, queues set, limits set, retry, cancel, replay, purge.")
@click.option("--actor", metavar="TEXT", help="Only those whose name contains this text.")
@click.option("--newer", type=duration, metavar="AGE", help="Only the last 90, 10m, 2h, 7d.")
@click.option(
    "--before", type=click.IntRange(min=1, max=2**63 - 1), metavar="ID", help="Only entries older than this one."
)
@limit_option
@json_option
@dsn_option
def audit(as_json: bool, dsn: str | None, **conditions: Any) -> None:
    """List who steered what, the latest first.

    Pauses, changed settings, retries, cancellations, replays and purges: by the command line, the dashboard, or the
    functions of plain SQL. Entries are kept for 90 days. The same as `select * from pgq.audit`.

    \b
    Examples:
      pgq audit
      pgq audit --queue email --newer 24h
      pgq audit --actor ada --action replay --json
    """
    from dataclasses import asdict

    from pgq.cli.rows import fetch
    from pgq.rows import AuditRow

    with database(dsn) as conn:
        found = fetch(conn, AuditRow, "list_audit", conditions)
    if as_json:
        echo_json([asdict(row) for row in found])
        return
    lines = [(r.id, r.at, r.actor, r.action, r.queue, r.count, in_words(r.filter), r.note) for r in found]
    echo_table(lines, COLUMNS, none="Nobody did anything like that.")


def in_words(chosen: Any) -> str | None:
    """Return what was chosen or changed as people read it: ids 17, 18; timeout 30 -> 60."""
    if not isinstance(chosen, dict):
        return None
    return "; ".join(_part(name, value, pair=name != "ids") for name, value in chosen.items()) or None


def _part(name: str, value: Any, *, pair: bool) -> str:
    if isinstance(value, list):
        return f"{name} {(' -> ' if pair else ', ').join('-' if one is None else str(one) for one in value)}"
    return f"{name} {value}"
