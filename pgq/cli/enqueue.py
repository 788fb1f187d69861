"""`pgq enqueue`: one task, through the same SQL function that every language has."""

from __future__ import annotations

import sys
from typing import Any

import click

from pgq.cli.options import dsn_option, duration, moment
from pgq.cli.session import database

CONFLICTS = ("raise", "skip", "replace", "return_existing")


@click.command()
@click.argument("queue")
@click.argument("task")
@click.argument("payload", metavar="[PAYLOAD_JSON]", default="{}")
@click.option("--priority", type=int, default=5, show_default=True, help="0 is most urgent, 10 least.")
@click.option("--delay", type=duration, help="How long to wait: 90, 10m, 2h, 7d.")
@click.option("--at", "scheduled_at", type=moment, help="When it is due: 2030-01-31T09:00:00Z.")
@click.option("--max-attempts", type=int, help="Attempts before it is dead; default: the queue's.")
@click.option("--timeout", type=duration, help="How long an attempt may take; default: the queue's.")
@click.option("--unique-key", help="Held until the task ends; no second task of the queue may have it.")
@click.option(
    "--on-conflict",
    type=click.Choice(CONFLICTS),
    default="raise",
    show_default=True,
    help="What to do when the unique key is taken.",
)
@click.option("--limit-key", multiple=True, help="A limit it is under, as kind:key; may be given again.")
@click.option("--weight", type=int, default=1, show_default=True, help="Units it takes of each of these limits.")
@dsn_option
def enqueue(
    queue: str, task: str, payload: str, unique_key: str | None, on_conflict: str, dsn: str | None, **chosen: Any
) -> None:
    """Add one task and print its id.

    PAYLOAD_JSON holds the arguments of the task by name; - reads it from standard input.

    \b
    Examples:
      pgq enqueue email send_email '{"to": "ada@example.org", "subject": "Hello"}'
      pgq enqueue email send_email '{"to": "ada@example.org"}' --priority 0 --delay 10m
      pgq enqueue pdf render '{"order": 7}' --unique-key order-7 --on-conflict return_existing
      pgq enqueue email send_email '{"to": "ada@example.org"}' --limit-key customer:acme --weight 3
    """
    from pgq.db import Call, run
    from pgq.options import Options
    from pgq.trace import current

    options = Options(**{**chosen, "limit_key": chosen["limit_key"] or None})
    values = {
        "queue": queue,
        "task": task,
        "payload": sys.stdin.read() if payload == "-" else payload,
        **options.values(),
        "trace": current(),
        "unique_key": unique_key,
        "on_conflict": on_conflict,
    }
    with database(dsn) as conn:
        ((new_id,),) = run(conn, Call("enqueue_unique", values))
    if new_id is None:
        click.echo(f"pgq: skipped: the unique key {unique_key!r} is taken", err=True)
    else:
        click.echo(new_id)
