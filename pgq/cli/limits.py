"""`pgq limits …`: what each limit allows, what is used of it, and who is held back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pgq.cli.failure import Failure
from pgq.cli.options import count_or_none, dsn_option, json_option, rate_limit
from pgq.cli.output import echo_facts, echo_json, echo_table
from pgq.cli.session import database
from pgq.cli.settings import change_limit, rate_text

if TYPE_CHECKING:
    from psycopg import Connection

COLUMNS = ("LIMIT", "RATE", "AT ONCE", "USED", "RUNNING", "DENIED", "THROTTLED UNTIL", "SEEN")
NO_LIMITS = "There are no limits: see `pgq queues set --help` and `pgq limits set --help`."
EVERY_KEY = 2**31  # none is left out


@click.group(invoke_without_command=True)
@json_option
@dsn_option
@click.pass_context
def limits(ctx: click.Context, as_json: bool, dsn: str | None) -> None:
    """List and change limits, which hold over all workers.

    A queue has a limit of its own (`pgq queues set`); every key of a kind, such as every customer, has the limit of
    that kind. Workers take up every change at once. Without a command: list.

    \b
    Examples:
      pgq limits
      pgq limits set customer --rate 10/s --concurrency 2
      pgq limits show customer:acme
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_limits, keys=20, as_json=as_json, dsn=dsn)
    elif as_json or dsn is not None:  # given before the command, meant for it
        ctx.default_map = {name: {"as_json": as_json, "dsn": dsn} for name in limits.commands}


@limits.command("list")
@click.option("--limit", "keys", type=click.IntRange(min=1, max=EVERY_KEY), default=20, show_default=True,
              help="Keys at most.")  # fmt: skip
@json_option
@dsn_option
def list_limits(keys: int, as_json: bool, dsn: str | None) -> None:
    """List the limits: of queues, of kinds of keys, and the keys in use.

    Those keys come first that sent most tasks back since they were last quiet for a day (DENIED). What is used is
    as of SEEN. The same as `select * from pgq.limit_stats`, and the kinds.

    \b
    Examples:
      pgq limits list
      pgq limits list --limit 100 --json
    """
    from dataclasses import asdict

    from pgq.cli.rows import fetch
    from pgq.rows import LimitRow

    with database(dsn) as conn:
        found = fetch(conn, LimitRow, "list_limits", {"name": None, "keys": keys})
    if as_json:
        echo_json([asdict(row) for row in found])
        return
    lines = [
        (r.name, rate_text(r.rate_max, r.rate_per), r.concurrency, r.used, r.running, r.denied, r.throttled_until,
         r.seen_at)
        for r in found
    ]  # fmt: skip
    echo_table(lines, COLUMNS, none=NO_LIMITS)


@limits.command()
@click.argument("name")
@json_option
@dsn_option
def show(name: str, as_json: bool, dsn: str | None) -> None:
    """Show one limit: of a queue, of a kind, or of a key in use.

    \b
    Examples:
      pgq limits show customer:acme
      pgq limits show customer                  what every customer may do
      pgq limits show queue:email --json
    """
    with database(dsn) as conn:
        echo_limit(conn, name, as_json=as_json)


@limits.command("set")
@click.argument("kind")
@click.option("--rate", type=rate_limit, metavar="N/TIME|none", help="Units per time, for each key: 10/s.")
@click.option("--concurrency", type=count_or_none, metavar="N|none", help="Tasks at once, for each key.")
@json_option
@dsn_option
def set_limit(
    kind: str,
    rate: tuple[int | None, float | None] | None,
    concurrency: tuple[int | None] | None,
    as_json: bool,
    dsn: str | None,
) -> None:
    """Change what each key of a kind may do, now and over all workers.

    A new kind is made. The change stays until somebody changes it again, here or in the code that declares the
    kind. A task takes one unit, unless it is enqueued with another weight.

    \b
    Examples:
      pgq limits set customer --rate 10/s --concurrency 2
      pgq limits set host --concurrency 4 --rate none
    """
    given: dict[str, Any] = {}
    if rate is not None:
        given["rate_max"], given["rate_per"] = rate
    if concurrency is not None:
        given["concurrency"] = concurrency[0]
    if not given:
        raise click.UsageError("say what to change; see `pgq limits set --help`.")
    with database(dsn) as conn:
        change_limit(conn, kind, given)
        echo_limit(conn, kind, as_json=as_json)


def echo_limit(conn: Connection, name: str, *, as_json: bool) -> None:
    """Print one limit. Raises Failure when there is none of that name."""
    from dataclasses import asdict

    from pgq.cli.rows import fetch
    from pgq.rows import LimitRow

    found = fetch(conn, LimitRow, "list_limits", {"name": name, "keys": 1})
    if not found:
        raise Failure(f"no limit {name!r}, or nobody used it lately: see `pgq limits list`")
    (echo_json if as_json else echo_facts)(asdict(found[0]))


@limits.command("acl")
@click.option("--user", default="pgq", show_default=True, help="What the user is called.")
def acl(user: str) -> None:
    """Print the Redis user that limits need.

    It is a line of an ACL file, for a user that may run the commands of the limits, on keys that begin with pgq:
    (or PGQ_LIMIT_PREFIX), and nothing more. Put a password in place of PASSWORD.

    \b
    Examples:
      pgq limits acl >> users.acl
    """
    import os

    from pgq.acl import line
    from pgq.config import Config

    click.echo(line(Config.load(os.environ).limit_prefix, user))
