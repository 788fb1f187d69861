"""`pgq tasks …`: single tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from pgq.cli.failure import Failure
from pgq.cli.options import dsn_option, duration, json_option, limit_option, task_id
from pgq.cli.output import echo_facts, echo_json, echo_table, one_line, printable, table
from pgq.cli.session import database
from pgq.cli.steer import each, steer

if TYPE_CHECKING:
    from psycopg import Connection

    from pgq.cli.rows import AttemptRow, TaskDetail, TaskRow

STATUSES = ("pending", "processing", "completed", "failed", "dead", "cancelled")
INDEXED = {"pending", "processing", "dead", "failed"}  # by themselves; the others are found among all
LOOK = 500_000  # tasks that a list looks at
PATIENCE = 10  # seconds
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
@click.option("--error", metavar="TEXT", help="Only those whose last error contains this text.")
@click.option("--older", type=duration, metavar="AGE", help="Only those enqueued longer ago: 90, 10m, 2h, 7d.")
@click.option("--newer", type=duration, metavar="AGE", help="Only those enqueued in the last 90, 10m, 2h, 7d.")
@click.option("--worker", metavar="NAME", help="Only those a worker has or had: its id, name or host.")
@click.option("--before", type=task_id, metavar="ID", help="Only older ones than this: the next page.")
@limit_option
@json_option
@dsn_option
def list_tasks(limit: int, as_json: bool, dsn: str | None, **conditions: Any) -> None:
    """List tasks, newest first.

    Those that fit all conditions. For the next page, give the last id as --before. A list looks at the newest 500,000
    tasks and says where it ended; with --status pending, processing, dead or failed at all of them.

    \b
    Examples:
      pgq tasks list
      pgq tasks list --queue email --status processing
      pgq tasks list --error 'timed out' --newer 1h
      pgq tasks list --task send_email --limit 100 --before 4711 --json
    """
    from dataclasses import asdict

    with database(dsn) as conn:
        found, floor = look(conn, limit, conditions)
    if floor > 0 and len(found) < limit:
        said = f"pgq: only the newest {LOOK:,} tasks were looked at; for older ones: --before {floor + 1}"
        click.echo(said, err=True)
    if as_json:
        echo_json([asdict(row) for row in found])
        return
    lines = [
        (r.id, r.queue, r.task, r.status, r.priority, f"{r.attempts}/{r.max_attempts}", r.scheduled_at, r.last_error)
        for r in found
    ]
    echo_table(lines, COLUMNS, none="No task is like that." if any(conditions.values()) else "There are no tasks.")


def look(conn: Connection, limit: int, conditions: dict[str, Any]) -> tuple[list[TaskRow], int]:
    """Return the tasks that fit, and the id down to which all were looked at. Raises Failure if that takes too long."""
    from psycopg.errors import QueryCanceled

    from pgq.cli.rows import TaskRow, fetch
    from pgq.db import Call, run

    floor = 0
    if conditions["status"] not in INDEXED:
        ((last,),) = run(conn, Call("last_id", {}))
        floor = max((conditions["before"] or (last or 0) + 1) - 1 - LOOK, 0)
    try:
        with conn.transaction():
            conn.execute(f"set local statement_timeout = '{PATIENCE}s'".encode())
            return fetch(conn, TaskRow, "list_tasks", {**conditions, "limit": limit, "floor": floor}), floor
    except QueryCanceled:
        raise Failure(f"that takes longer than {PATIENCE} s: narrow it by --queue, --status or --newer") from None


@tasks.command()
@click.argument("id", type=task_id)
@json_option
@dsn_option
def show(id: int, as_json: bool, dsn: str | None) -> None:  # noqa: A002 - the argument's name in the help
    """Show everything about one task, with its failed attempts.

    \b
    Examples:
      pgq tasks show 17
      pgq tasks show 17 --json
    """
    with database(dsn) as conn:
        echo_task(task_detail(conn, id), attempts_of(conn, id), as_json=as_json)


def task_detail(conn: Connection, task_id: int) -> TaskDetail:
    """Return one task. Raises Failure when there is none of that id."""
    from pgq.cli.rows import TaskDetail, fetch

    found = fetch(conn, TaskDetail, "show_task", {"id": task_id})
    if not found:
        raise Failure(f"no task {task_id}")
    return found[0]


def attempts_of(conn: Connection, task_id: int) -> list[AttemptRow]:
    """Return the failed attempts of one task, the first one first."""
    from pgq.cli.rows import AttemptRow, fetch

    return fetch(conn, AttemptRow, "list_attempts", {"id": task_id})


def echo_task(task: TaskDetail, attempts: Sequence[AttemptRow], *, as_json: bool) -> None:
    """Print one task and its failed attempts."""
    from dataclasses import asdict

    from pgq.seal import shown

    facts = asdict(task)
    if as_json:
        echo_json({**facts, "history": [asdict(attempt) for attempt in attempts]})
        return
    payload, trace = facts.pop("payload"), facts.pop("traceback")
    echo_facts(facts)
    click.echo(printable(f"payload\n{shown(payload)}"))
    if attempts:
        lines = [(a.attempt, a.worker, a.started_at, a.ended_at, a.error) for a in attempts]
        click.echo(f"failed attempts\n{table(lines, ('TRY', 'WORKER', 'STARTED', 'FAILED', 'ERROR'))}")
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
