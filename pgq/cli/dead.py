"""`pgq dead …`: the dead letters."""

from __future__ import annotations

from typing import Any

import click

from pgq.cli.failure import Failure
from pgq.cli.letters import conditions, purge, replay, which
from pgq.cli.options import dsn_option, json_option, limit_option, task_id
from pgq.cli.output import echo_json, echo_table
from pgq.cli.session import database
from pgq.cli.tasks import attempts_of, echo_task, task_detail


@click.group()
def dead() -> None:
    """List, show, replay and purge dead letters.

    Dead letters are tasks that are out of attempts.

    \b
    Examples:
      pgq dead list --queue webhooks
      pgq dead show 17
      pgq dead replay --queue webhooks --error 'timed out' --rate 50/s
      pgq dead purge --queue webhooks --older 30d
    """


dead.add_command(replay)
dead.add_command(purge)


@dead.command("list")
@conditions
@limit_option
@json_option
@dsn_option
def list_dead(limit: int, as_json: bool, dsn: str | None, **given: Any) -> None:
    """List dead letters, the latest first.

    \b
    Examples:
      pgq dead list
      pgq dead list --queue webhooks --error 'HTTP 500'
      pgq dead list --task deliver --newer 1h --limit 1000 --json
    """
    from dataclasses import asdict

    from pgq.cli.rows import DeadRow, fetch

    chosen = which(**given)
    with database(dsn) as conn:
        found = fetch(conn, DeadRow, "list_dead", {**chosen.values, "limit": limit})
    if as_json:
        echo_json([asdict(row) for row in found])
        return
    lines = [(r.id, r.queue, r.task, f"{r.attempts}/{r.max_attempts}", r.died_at, r.last_error) for r in found]
    headings = ("ID", "QUEUE", "TASK", "TRIES", "DIED", "LAST ERROR")
    none = "No dead letter is like that." if chosen.given else "There are no dead letters."
    echo_table(lines, headings, none=none)


@dead.command()
@click.argument("id", type=task_id)
@json_option
@dsn_option
def show(id: int, as_json: bool, dsn: str | None) -> None:  # noqa: A002 - the argument's name in the help
    """Show everything about one dead letter.

    With its failed attempts, and the traceback of the last one.

    \b
    Examples:
      pgq dead show 17
      pgq dead show 17 --json
    """
    with database(dsn) as conn:
        task, attempts = task_detail(conn, id), attempts_of(conn, id)
    if task.status != "dead":
        raise Failure(f"task {id} is not dead, it is {task.status}: see `pgq tasks show {id}`")
    echo_task(task, attempts, as_json=as_json)
