"""`pgq dead …`: the dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from pgq.cli.failure import Failure
from pgq.cli.options import dsn_option, json_option, limit_option, task_id
from pgq.cli.output import count, echo_json, echo_table
from pgq.cli.session import database
from pgq.cli.steer import complain, steer
from pgq.cli.tasks import echo_task, task_detail
from pgq.errors import PgqError

if TYPE_CHECKING:
    from psycopg import Connection

    from pgq.cli.rows import Picked

queue_option = click.option("--queue", help="Only this queue.")
task_option = click.option("--task", help="Only tasks of this name.")
error_option = click.option("--error", metavar="TEXT", help="Only those whose last error contains this text.")


@click.group()
def dead() -> None:
    """List, show and replay dead letters.

    Dead letters are tasks that are out of attempts.

    \b
    Examples:
      pgq dead list --queue webhooks
      pgq dead show 17
      pgq dead replay --queue webhooks --error 'timed out'
    """


@dead.command("list")
@queue_option
@task_option
@error_option
@limit_option
@json_option
@dsn_option
def list_dead(
    queue: str | None, task: str | None, error: str | None, limit: int, as_json: bool, dsn: str | None
) -> None:
    """List dead letters, the latest first.

    \b
    Examples:
      pgq dead list
      pgq dead list --queue webhooks --error 'HTTP 500'
      pgq dead list --task deliver --limit 1000 --json
    """
    from dataclasses import asdict

    from pgq.cli.rows import DeadRow, fetch

    conditions = {"queue": queue, "task": task, "error": error, "limit": limit}
    with database(dsn) as conn:
        found = fetch(conn, DeadRow, "list_dead", conditions)
    if as_json:
        echo_json([asdict(row) for row in found])
        return
    lines = [(r.id, r.queue, r.task, f"{r.attempts}/{r.max_attempts}", r.died_at, r.last_error) for r in found]
    headings = ("ID", "QUEUE", "TASK", "TRIES", "DIED", "LAST ERROR")
    none = "No dead letter is like that." if queue or task or error else "There are no dead letters."
    echo_table(lines, headings, none=none)


@dead.command()
@click.argument("id", type=task_id)
@json_option
@dsn_option
def show(id: int, as_json: bool, dsn: str | None) -> None:  # noqa: A002 - the argument's name in the help
    """Show everything about one dead letter.

    With the traceback of its last attempt.

    \b
    Examples:
      pgq dead show 17
      pgq dead show 17 --json
    """
    with database(dsn) as conn:
        task = task_detail(conn, id)
    if task.status != "dead":
        raise Failure(f"task {id} is not dead, it is {task.status}: see `pgq tasks show {id}`")
    echo_task(task, as_json=as_json)


@dead.command()
@click.argument("ids", type=task_id, nargs=-1, metavar="[ID]...")
@queue_option
@task_option
@error_option
@click.option("--all", "everything", is_flag=True, help="Every dead letter.")
@click.option("--dry-run", is_flag=True, help="Only list what would be replayed.")
@json_option
@dsn_option
def replay(
    ids: tuple[int, ...],
    queue: str | None,
    task: str | None,
    error: str | None,
    everything: bool,
    dry_run: bool,
    as_json: bool,
    dsn: str | None,
) -> None:
    """Start dead letters over.

    Those given by id, those that fit the conditions, or all; with all their attempts. Each is a transaction of
    its own: one that cannot run again (its unique key is taken) stops no other.

    \b
    Examples:
      pgq dead replay 17 18
      pgq dead replay --queue webhooks --error 'HTTP 503' --dry-run
      pgq dead replay --all
    """
    from pgq.cli.rows import Picked, fetch

    conditions = {"queue": queue, "task": task, "error": error}
    if sum((bool(ids), any(conditions.values()), everything)) != 1:
        raise click.UsageError("say which: ids, or --queue, --task and --error, or --all.")
    if as_json and not dry_run:
        raise click.UsageError("--json goes with --dry-run.")
    with database(dsn) as conn:
        picked = fetch(conn, Picked, "pick_dead", {"ids": list(ids) or None, **conditions})
        if dry_run:
            _preview(picked, as_json=as_json)
        else:
            _replay(conn, picked)
    if missing := sorted(set(ids) - {letter.id for letter in picked}):
        raise Failure(f"not dead, so not replayed: {', '.join(map(str, missing))} (see `pgq tasks retry`)")


def _preview(picked: Sequence[Picked], *, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        echo_json([asdict(letter) for letter in picked])
        return
    lines: list[tuple[Any, ...]] = [(r.id, r.queue, r.task, r.died_at, r.last_error) for r in picked]
    echo_table(lines, ("ID", "QUEUE", "TASK", "DIED", "LAST ERROR"), none="Nothing would be replayed.")
    if picked:
        click.echo(f"{count(len(picked), 'dead letter')} would be replayed.")


def _replay(conn: Connection, picked: Sequence[Picked]) -> None:
    refused = replayed = 0
    for letter in picked:
        try:
            replayed += steer(conn, "replay", letter.id) != ""
        except PgqError as error:
            complain(letter.id, error)
            refused += 1
    click.echo(f"Replayed {count(replayed, 'dead letter')}." if replayed else "Nothing to replay.")
    if refused:
        raise Failure(f"{count(refused, 'dead letter')} could not be replayed")
