"""`pgq tasks …`: single tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pgq.cli.failure import Failure
from pgq.cli.options import dsn_option, json_option, limit_option, task_id
from pgq.cli.output import echo_facts, echo_json, echo_table, one_line, printable
from pgq.cli.session import database
from pgq.cli.steer import each, steer

if TYPE_CHECKING:
    from psycopg import Connection

    from pgq.cli.rows import TaskDetail

STATUSES = ("pending", "processing", "completed", "failed", "dead", "cancelled")
COLUMNS = ("ID", "QUEUE", "TASK", "STATUS", "PRI", "TRIES", "DUE", "LAST ERROR")


@click.group()
def tasks() -> None:
    """List, show, explain, cancel and retry tasks.

    \b
    Examples:
      pgq tasks list --queue email --status pending
      pgq tasks show 17
      pgq tasks explain 17
      pgq tasks cancel 17 18
    """


@tasks.command("list")
@click.option("--queue", help="Only this queue.")
@click.option("--status", type=click.Choice(STATUSES), help="Only this status.")
@click.option("--task", help="Only tasks of this name.")
@limit_option
@json_option
@dsn_option
def list_tasks(
    queue: str | None, status: str | None, task: str | None, limit: int, as_json: bool, dsn: str | None
) -> None:
    """List tasks, newest first.

    \b
    Examples:
      pgq tasks list
      pgq tasks list --queue email --status processing
      pgq tasks list --task send_email --limit 100 --json
    """
    from dataclasses import asdict

    from pgq.cli.rows import TaskRow, fetch

    conditions = {"queue": queue, "status": status, "task": task, "limit": limit}
    with database(dsn) as conn:
        found = fetch(conn, TaskRow, "list_tasks", conditions)
    if as_json:
        echo_json([asdict(row) for row in found])
        return
    lines = [
        (r.id, r.queue, r.task, r.status, r.priority, f"{r.attempts}/{r.max_attempts}", r.scheduled_at, r.last_error)
        for r in found
    ]
    echo_table(lines, COLUMNS, none="No task is like that." if queue or status or task else "There are no tasks.")


@tasks.command()
@click.argument("id", type=task_id)
@json_option
@dsn_option
def show(id: int, as_json: bool, dsn: str | None) -> None:  # noqa: A002 - the argument's name in the help
    """Show everything about one task.

    \b
    Examples:
      pgq tasks show 17
      pgq tasks show 17 --json
    """
    with database(dsn) as conn:
        echo_task(task_detail(conn, id), as_json=as_json)


def task_detail(conn: Connection, task_id: int) -> TaskDetail:
    """Return one task. Raises Failure when there is none of that id."""
    from pgq.cli.rows import TaskDetail, fetch

    found = fetch(conn, TaskDetail, "show_task", {"id": task_id})
    if not found:
        raise Failure(f"no task {task_id}")
    return found[0]


def echo_task(task: TaskDetail, *, as_json: bool) -> None:
    """Print one task."""
    import json
    from dataclasses import asdict

    facts = asdict(task)
    if as_json:
        echo_json(facts)
        return
    payload, trace = facts.pop("payload"), facts.pop("traceback")
    echo_facts(facts)
    click.echo(printable(f"payload\n{json.dumps(payload, indent=2, ensure_ascii=False)}"))
    if trace:
        click.echo(printable(f"traceback\n{trace.rstrip()}"))


@tasks.command()
@click.argument("id", type=task_id)
@json_option
@dsn_option
def explain(id: int, as_json: bool, dsn: str | None) -> None:  # noqa: A002 - the argument's name in the help
    """Say in one sentence why a task is not running, or what became of it.

    The same as `select pgq.explain(17)`.

    \b
    Examples:
      pgq tasks explain 17
      pgq tasks explain 17 --json
    """
    with database(dsn) as conn:
        said = steer(conn, "explain_task", id)
    if as_json:
        echo_json({"id": id, "explanation": said})
    else:
        click.echo(one_line(said))


@tasks.command()
@click.argument("ids", type=task_id, nargs=-1, required=True, metavar="ID...")
@dsn_option
def cancel(ids: tuple[int, ...], dsn: str | None) -> None:
    """Cancel tasks: at once where they wait, by asking the worker where they run.

    \b
    Examples:
      pgq tasks cancel 17
      pgq tasks cancel 17 18 19
    """
    said = {"cancelled": "cancelled", "requested": "asked to stop: it is running"}
    with database(dsn) as conn:
        each(conn, "cancel_task", ids, lambda was: said.get(was, f"not cancelled: it is {was} already"))


@tasks.command()
@click.argument("ids", type=task_id, nargs=-1, required=True, metavar="ID...")
@dsn_option
def retry(ids: tuple[int, ...], dsn: str | None) -> None:
    """Start ended tasks over with all their attempts; make waiting ones due now.

    \b
    Examples:
      pgq tasks retry 17
      pgq tasks retry 17 18 19
    """
    said = {"pending": "will run again", "processing": "left alone: it is running"}
    with database(dsn) as conn:
        each(conn, "retry_task", ids, lambda status: said.get(status, status))
