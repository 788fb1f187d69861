"""`pgq up` and `pgq down`: the embedded servers."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from pgq.cli.options import home_option
from pgq.cli.output import echo_json
from pgq.cli.session import bring_up_to_date


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of shell commands.")
@home_option
def up(as_json: bool, home: str | None) -> None:
    """Start a Postgres and a Redis of pgq's own.

    Installs the schema there, too, and prints how to use them. For trying pgq out, for tests, for laptops. They
    go on until `pgq down`; running it again does no harm.
    Needs pgq-tasks[embedded]. Files are kept in --home, else PGQ_HOME, else a directory of your account.

    \b
    Examples:
      pgq up
      eval "$(pgq up)" && psql "$PGQ_DSN"
      pgq up --json --home /tmp/pgq
    """
    from pgq import embedded

    servers = embedded.up(Path(home) if home else None)
    bring_up_to_date(servers.dsn)
    if as_json:
        echo_json({"dsn": servers.dsn, "redis_url": servers.redis_url})
        return
    stop = f"pgq down --home {shlex.quote(home)}" if home else "pgq down"
    click.echo(f"# Postgres and Redis are up, `{stop}` stops them. To use them from this shell:")
    click.echo(f"export PGQ_DSN={shlex.quote(servers.dsn)}")
    click.echo(f"export PGQ_REDIS_URL={shlex.quote(servers.redis_url)}")


@click.command()
@home_option
def down(home: str | None) -> None:
    """Stop the embedded servers.

    Those that `pgq up` or any other command started; their data stays.

    \b
    Examples:
      pgq down
      pgq down --home /tmp/pgq
    """
    from pgq import embedded

    stopped = embedded.down(Path(home) if home else None)
    click.echo("stopped" if stopped else "nothing was running")
