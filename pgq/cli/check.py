"""`pgq check`: one answer for a monitor."""

from __future__ import annotations

import click

from pgq.cli.failure import sentence
from pgq.cli.options import dsn_option, duration, json_option
from pgq.cli.output import cell, count, echo_json
from pgq.cli.session import database
from pgq.errors import PgqError

CRITICAL = 2


@click.command()
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="Only this queue's age and dead; repeatable.")
@click.option("--warn-age", type=duration, metavar="TIME", help="Warn when the oldest due task waits for longer.")
@click.option("--max-age", type=duration, metavar="TIME", help="Critical when the oldest due task waits for longer.")
@click.option("--warn-dead", type=click.IntRange(0), metavar="N", help="Warn when more tasks died in 24 hours.")
@click.option("--max-dead", type=click.IntRange(0), metavar="N", help="Critical when more tasks died in 24 hours.")
@click.option("--ignore", multiple=True, metavar="CHECK", help="Leave this check out, such as 'paused'; repeatable.")
@json_option
@dsn_option
def check(
    queues: tuple[str, ...], warn_age: float | None, max_age: float | None, warn_dead: int | None,
    max_dead: int | None, ignore: tuple[str, ...], as_json: bool, dsn: str | None,
) -> None:  # fmt: skip
    """Say whether all is well, for a monitor.

    Exits with 0, 1 (something warns) or 2 (something is critical). Prints a line for each check of `select * from
    pgq.health` that is not ok, and for each queue beyond the thresholds given. A database that cannot be reached is
    critical.

    \b
    Examples:
      pgq check
      pgq check --queue email --max-age 10m --max-dead 0
      pgq check --json --ignore paused
    """
    from dataclasses import asdict

    import psycopg

    from pgq.checkup import Thresholds, Verdict, check_up, worst

    try:
        with database(dsn) as conn:
            found = check_up(conn, queues, Thresholds(warn_age, max_age, warn_dead, max_dead))
    except (psycopg.Error, PgqError, OSError, click.ClickException) as error:
        failure = error if isinstance(error, click.ClickException) else sentence(error)
        found = [Verdict("database", "critical", failure.message if failure else str(error), 1)]
    verdicts = [verdict for verdict in found if verdict.name not in ignore]
    bad = [verdict for verdict in verdicts if verdict.status != "ok"]
    if as_json:
        echo_json([asdict(verdict) for verdict in verdicts])
    for verdict in [] if as_json else sorted(bad, key=lambda one: one.status):
        click.echo(f"{verdict.status:8}  {verdict.name}: {cell(verdict.message)}")
    if not bad and not as_json:
        click.echo(f"ok        {count(len(verdicts), 'check')}")
    raise click.exceptions.Exit(worst(verdicts))
