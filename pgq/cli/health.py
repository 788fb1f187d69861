"""`pgq stats` and `pgq doctor`: how it goes, and what is wrong."""

from __future__ import annotations

import click

from pgq.cli.options import dsn_option, json_option
from pgq.cli.output import about, cell, echo_json, echo_table
from pgq.cli.session import configure, database
from pgq.cli.settings import NO_QUEUES
from pgq.errors import UnknownQueue

HEADINGS = (
    "QUEUE", "PENDING", "PROCESSING", "COMPLETED", "FAILED", "DEAD", "CANCELLED", "RETRIED", "OLDEST DUE", "PAUSED",
)  # fmt: skip


@click.command()
@click.option("--queue", help="Only this queue.")
@json_option
@dsn_option
def stats(queue: str | None, as_json: bool, dsn: str | None) -> None:
    """Show what waits, runs and ended in each queue.

    What ended counts the last 24 hours. The same as `select * from pgq.queue_stats`. OLDEST DUE is for how long
    the oldest waiting task has been due.

    \b
    Examples:
      pgq stats
      pgq stats --queue email --json
    """
    from dataclasses import asdict

    from pgq.cli.rows import StatsRow, fetch

    with database(dsn) as conn:
        found = fetch(conn, StatsRow, "list_stats", {"queue": queue})
    if queue is not None and not found:
        raise UnknownQueue(f"unknown queue {queue!r}: see `pgq queues list`")
    if as_json:
        echo_json([asdict(row) for row in found])
        return
    lines = [
        (r.queue, r.pending, r.processing, r.completed, r.failed, r.dead, r.cancelled, r.retried,
         about(r.oldest_due_age), r.paused)
        for r in found
    ]  # fmt: skip
    echo_table(lines, HEADINGS, none=NO_QUEUES)


@click.command()
@json_option
@dsn_option
def doctor(as_json: bool, dsn: str | None) -> None:
    """Check everything, and explain what is wrong.

    Looks at the database, the schema, the workers, Redis (PGQ_REDIS_URL) and what is between them. One line a
    check: ok, warn, or fail with what to do. Exits with 1 when something fails.

    \b
    Examples:
      pgq doctor
      pgq doctor --json --dsn postgresql://app@db.example.org/shop
    """
    from dataclasses import asdict

    from pgq.cli.failure import connecting
    from pgq.doctor import examine

    config = configure(dsn, install=False)
    with connecting(config.dsn):
        findings = examine(config.dsn, config.redis_url)
    if as_json:
        echo_json([asdict(finding) for finding in findings])
    else:
        width = max(len(finding.check) for finding in findings)
        for finding in findings:
            click.echo(f"{finding.level:4}  {finding.check:{width}}  {cell(finding.text)}")
    if any(finding.level == "fail" for finding in findings):
        raise click.exceptions.Exit(1)
