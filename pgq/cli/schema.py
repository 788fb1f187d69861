"""`pgq migrate`: the schema."""

from __future__ import annotations

import click

from pgq.cli.failure import Failure
from pgq.cli.options import dsn_option
from pgq.cli.output import names
from pgq.cli.session import configure, session


@click.command()
@click.option("--sql", is_flag=True, help="Print the whole installation as one SQL script; needs no database.")
@click.option("--check", is_flag=True, help="Change nothing; exit 1 and say what is missing when behind.")
@dsn_option
def migrate(sql: bool, check: bool, dsn: str | None) -> None:
    """Install the schema, or bring it up to date.

    Safe to run at every deployment, from many hosts at once: one does the work, the others wait for it.

    \b
    Examples:
      pgq migrate --dsn postgresql://app@db.example.org/shop
      pgq migrate --check                       in CI, or before a deployment goes on
      pgq migrate --sql | psql -X -v ON_ERROR_STOP=1 shop
    """
    from pgq import migrate as schema

    if sql and check:
        raise click.UsageError("give --sql or --check, not both.")
    if sql:
        click.echo(schema.script(), nl=False)
        return
    with session(configure(dsn, install=False).dsn) as conn:
        steps = schema.pending(conn) if check else schema.migrate(conn)
    what = names(step.name for step in steps)
    if check and steps:
        raise Failure(f"the schema is behind, it lacks {what}: run `pgq migrate`")
    click.echo(f"applied {what}" if steps else f"up to date at version {schema.version()}")
