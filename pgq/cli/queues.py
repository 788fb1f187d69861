"""`pgq queues …`: queues and their settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pgq.cli.options import count_or_none, dsn_option, duration, json_option, rate_limit
from pgq.cli.output import cell, count, names
from pgq.cli.session import database, load
from pgq.cli.settings import change, echo_queues

if TYPE_CHECKING:
    from psycopg import Connection

    from pgq.rows import LimitRow, QueueRow

LIVE = ("paused", "paused_at", "updated_at")  # no settings, so nothing that code declares


@click.group()
def queues() -> None:
    """List, change, pause and resume queues. Workers take up every change at once.

    \b
    Examples:
      pgq queues sync shop.tasks:app
      pgq queues set email --concurrency 5 --rate 100/60s
      pgq queues pause email
    """


@queues.command()
@click.argument("app", metavar="MODULE:APP")
@click.option("--alerts", is_flag=True, help="The queue of alerts too, for workers with --alerts.")
@dsn_option
def sync(app: str, alerts: bool, dsn: str | None) -> None:
    """Write the queues and limits that an app declares, and say what changed.

    What was changed live since (by `pgq queues set` or `pgq limits set`) stays, unless its declaration changed too.
    Workers do the same when they start; those that are only of the role pgq_worker may not, and wait for this.

    \b
    Examples:
      pgq queues sync shop.tasks:app
      pgq queues sync shop.tasks                the app is named "app"
    """
    declared = load(app)
    if alerts:
        from pgq.alerts.deliver import attach

        attach(declared, dsn or "")
    with database(dsn) as conn, conn.transaction():
        before = _settings(conn)
        written = declared.declare(conn)
        after = _settings(conn)
    for name in written:
        click.echo(f"{name}: {_difference(before.get(name), after[name])}")
    if not written:
        kinds = f" and {count(len(declared.key_limits), 'limit')}" if declared.key_limits else ""
        click.echo(f"{count(len(declared.queues), 'queue')}{kinds} declared, nothing changed")


def _settings(conn: Connection) -> dict[str, QueueRow | LimitRow]:
    """Return the settings of every queue by its name, and of every kind of keys as `limit <kind>`."""
    from pgq.cli.rows import fetch
    from pgq.rows import LimitRow, QueueRow

    found = fetch(conn, LimitRow, "list_limits", {"name": None, "keys": 0})
    kinds = {f"limit {row.name}": row for row in found if row.key is None}
    return {row.name: row for row in fetch(conn, QueueRow, "list_queues", {"name": None})} | kinds


def _difference(before: QueueRow | LimitRow | None, after: QueueRow | LimitRow) -> str:
    from dataclasses import asdict

    if before is None:
        return "added"
    was, now = asdict(before), asdict(after)
    changed = [key for key in was if was[key] != now[key] and key not in LIVE]
    what = names(f"{key} {cell(was[key])} -> {cell(now[key])}" for key in changed)
    return what or "declared anew, the settings were like that already"


@queues.command("list")
@json_option
@dsn_option
def list_queues(as_json: bool, dsn: str | None) -> None:
    """List the queues and their settings.

    \b
    Examples:
      pgq queues list
      pgq queues list --json
    """
    with database(dsn) as conn:
        echo_queues(conn, None, as_json=as_json)


@queues.command("set")
@click.argument("queue")
@click.option("--concurrency", type=count_or_none, metavar="N|none", help="Tasks at once, over all workers.")
@click.option("--rate", type=rate_limit, metavar="N/TIME|none", help="Starts per time, over all workers: 100/60s.")
@click.option("--timeout", type=duration, help="How long an attempt may take.")
@click.option("--max-attempts", type=int, help="Attempts before a task is dead.")
@click.option("--backoff", type=click.Choice(["fixed", "exponential"]), help="Whether the delay doubles.")
@click.option("--delay", type=duration, help="Before the first retry.")
@click.option("--max-delay", type=duration, help="No retry waits longer.")
@click.option("--jitter", type=float, help="Share of the delay, 0 to 1, that is added at random.")
@click.option("--retention", type=duration, help="How long ended tasks are kept; 0: not at all.")
@click.option("--keep-dead/--no-keep-dead", default=None, help="Whether dead letters are kept for replay.")
@click.option("--on-limiter-down", type=click.Choice(["wait", "run"]), help="When Redis is away.")
@json_option
@dsn_option
def set_queue(
    queue: str,
    concurrency: tuple[int | None] | None,
    rate: tuple[int | None, float | None] | None,
    as_json: bool,
    dsn: str | None,
    **changes: Any,
) -> None:
    """Change settings of a queue, now and for all workers.

    Its limits (--concurrency, --rate) hold over all workers together, and need Redis. A change stays until
    somebody changes it again, here or in the code that declares the queue.

    \b
    Examples:
      pgq queues set email --rate 100/60s --concurrency 5
      pgq queues set webhooks --backoff exponential --delay 1s --max-attempts 5
      pgq queues set pdf --rate none --retention 30d
    """
    given = {name: value for name, value in changes.items() if value is not None}
    if concurrency is not None:
        given["concurrency"] = concurrency[0]
    if rate is not None:
        given["rate_max"], given["rate_per"] = rate
    if not given:
        raise click.UsageError("say what to change; see `pgq queues set --help`.")
    with database(dsn) as conn:
        change(conn, queue, given)
        echo_queues(conn, queue, as_json=as_json)


@queues.command()
@click.argument("queue")
@dsn_option
def pause(queue: str, dsn: str | None) -> None:
    """Stop claims of a queue: what runs goes on, what is enqueued waits.

    \b
    Examples:
      pgq queues pause email
    """
    _steer("pause_queue", queue, dsn)
    click.echo(f"paused {queue}; `pgq queues resume {queue}` lets it go on")


@queues.command()
@click.argument("queue")
@dsn_option
def resume(queue: str, dsn: str | None) -> None:
    """Let workers claim from a paused queue again.

    \b
    Examples:
      pgq queues resume email
    """
    _steer("resume_queue", queue, dsn)
    click.echo(f"resumed {queue}")


def _steer(query: str, queue: str, dsn: str | None) -> None:
    from pgq.audit import whoami
    from pgq.db import Call, run

    with database(dsn) as conn:
        run(conn, Call(query, {"queue": queue, "actor": whoami()}))
