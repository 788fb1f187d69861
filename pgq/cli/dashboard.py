"""`pgq dashboard`: the web dashboard."""

from __future__ import annotations

import os

import click

from pgq.cli.failure import Failure
from pgq.cli.options import dsn_option
from pgq.cli.session import configure

TOKEN = "PGQ_DASHBOARD_TOKEN"  # noqa: S105 - a variable's name
PORT = 8474


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need a token.")
@click.option("--port", type=click.IntRange(0, 65_535), default=PORT, show_default=True, help="0 takes a free one.")
@click.option("--token", help=f"What whoever acts must present; or {TOKEN}. Default: one for this run.")
@click.option("--login", is_flag=True, help="Reading needs the token too; always so where others get in.")
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="A name by which it may be reached.")
@click.option(
    "--redact",
    metavar="A,B|all|none",
    help="Hide values of payloads under names with this in them.  [default: names that sound secret]",
)
@dsn_option
def dashboard(
    host: str, port: int, token: str | None, login: bool, hosts: tuple[str, ...], redact: str | None, dsn: str | None
) -> None:
    """Serve the web dashboard.

    Queues, tasks, dead letters, workers, limits and health, live in a browser; retry, cancel, replay, pause for
    those who have the token. It needs the database alone, and lives on while that is away.

    It listens on this machine only, unless --host says otherwise; then there must be a token, and reading needs it
    too. Names other than localhost must be allowed (--allow-host), whoever resolves them.

    \b
    Examples:
      pgq dashboard
      pgq dashboard --port 9000 --redact email,password
      PGQ_DASHBOARD_TOKEN=... pgq dashboard --host 0.0.0.0 --allow-host queues.example.org
    """
    find_parts()
    import socket

    from pgq.dashboard.redact import Redaction
    from pgq.dashboard.server import listen, serve
    from pgq.dashboard.settings import Settings, is_loopback, token_for

    given = token or os.environ.get(TOKEN) or None
    chosen = token_for(host, given)
    config = configure(dsn)
    listening = listen(host, port)
    bound = listening.getsockname()[1]
    settings = Settings(
        dsn=config.dsn,
        token=chosen,
        cookie=f"pgq_{bound}",
        locked=login or not is_loopback(host),
        hosts=frozenset(name.lower() for name in (*hosts, host, socket.gethostname())),
        redaction=Redaction.parse(redact),
    )
    echo_address(host, bound, chosen if given is None else None)
    serve(settings, listening)


def find_parts() -> None:
    """Raise Failure, with what to install, where the extra is missing."""
    try:
        import jinja2  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise Failure(f"the dashboard needs {error.name}: pip install 'pgq-tasks[dashboard]'") from None


def echo_address(host: str, port: int, token: str | None) -> None:
    """Say where it is, and where whoever acts logs in with the token that was made for this run."""
    place = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    click.echo(f"dashboard: {place}")
    if token is not None:  # after the #, which no server and no log gets to see
        click.echo(f"to act:    {place}login#token={token}")
