"""`pgq doctor`: what is wrong."""

from __future__ import annotations

import click

from pgq.cli.options import dsn_option, json_option
from pgq.cli.output import cell, echo_json
from pgq.cli.session import configure


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
        findings = examine(config.dsn, config.redis_url, config.limit_prefix)
    if as_json:
        echo_json([asdict(finding) for finding in findings])
    else:
        width = max(len(finding.check) for finding in findings)
        for finding in findings:
            click.echo(f"{finding.level:4}  {finding.check:{width}}  {cell(finding.text)}")
    if any(finding.level == "fail" for finding in findings):
        raise click.exceptions.Exit(1)
