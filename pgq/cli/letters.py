"""`pgq dead replay` and `pgq dead purge`: many dead letters at once, chosen by conditions, previewed, paced."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pgq.cli.failure import Failure
from pgq.cli.options import dsn_option, duration, json_option, rate_limit, task_id
from pgq.cli.output import count, echo_json, echo_table, names, one_line, seconds
from pgq.cli.session import database

if TYPE_CHECKING:
    from psycopg import Connection

    from pgq.letters import Progress, Which

C = TypeVar("C", bound=Callable[..., Any])
SAMPLE = 10  # dead letters that a preview shows
NAMED = 10  # refused ones that are named
AGES = "90, 10m, 2h, 7d"


def conditions(command: C) -> C:
    """Give a command the options that say which dead letters."""
    for option in (
        click.option("--id", "chosen", type=task_id, multiple=True, help="Only this one; may be given again."),
        click.option("--newer", type=duration, metavar="AGE", help=f"Only those that died in the last {AGES}."),
        click.option("--older", type=duration, metavar="AGE", help=f"Only those that died longer ago: {AGES}."),
        click.option("--error", metavar="TEXT", help="Only those whose last error contains this text."),
        click.option("--task", help="Only tasks of this name."),
        click.option("--queue", help="Only this queue."),
    ):
        command = option(command)
    return command


def which(chosen: Iterable[int], ids: Iterable[int] = (), **given: Any) -> Which:
    """Return the dead letters that the options say."""
    from pgq.letters import Which

    return Which(**given, ids=tuple(dict.fromkeys((*ids, *chosen))))


def _some(given: dict[str, Any], *, everything: bool, dry_run: bool) -> Which:
    """Return which; refuses to take all of them for none given, but for a look."""
    wanted = which(**given)
    if (everything and wanted.given) or not (everything or wanted.given or dry_run):
        raise click.UsageError("say which: ids, or --queue, --task, --error, --older, --newer, or else --all.")
    return wanted


all_option = click.option("--all", "everything", is_flag=True, help="Every dead letter.")
dry_option = click.option("--dry-run", is_flag=True, help="Only count them, and show some.")
note_option = click.option("--note", default="", metavar="TEXT", help="Why: goes into the audit.")


@click.command()
@click.argument("ids", type=task_id, nargs=-1, metavar="[ID]...")
@conditions
@all_option
@click.option("--rate", type=rate_limit, metavar="N/TIME", help="Spread them over time: 50/s.")
@note_option
@dry_option
@json_option
@dsn_option
def replay(
    everything: bool, rate: tuple[int | None, float | None] | None, note: str, dry_run: bool, as_json: bool,
    dsn: str | None, **given: Any,
) -> None:  # fmt: skip
    """Start dead letters over, in the order they died.

    Those given by id, those that fit all conditions, or --all; each with all its attempts, under its limits. One
    whose unique key is taken by now stays dead, is named, and stops no other. With --rate their due times are
    written that far apart, so they keep the pace whatever becomes of this command. ^C stops it: what was replayed
    stays so, the rest is still dead.

    \b
    Examples:
      pgq dead replay 17 18
      pgq dead replay --queue webhooks --error 'HTTP 503' --newer 1d --dry-run
      pgq dead replay --queue webhooks --rate 50/s --note 'their server is back'
    """
    from pgq.audit import whoami
    from pgq.letters import replay as start

    wanted = _some(given, everything=everything, dry_run=dry_run)
    pace = rate[0] / rate[1] if rate and rate[0] and rate[1] else None
    with database(dsn) as conn:
        if dry_run:
            _preview(conn, wanted, "replayed", as_json=as_json)
            return
        missing = _missing(conn, wanted)
        done = _watched("Replayed", start(conn, wanted, rate=pace, actor=whoami(), note=note))
        _report(conn, done, ("Replayed", "replay"), pace=pace, as_json=as_json)
    if missing:
        raise Failure(f"not dead, so not replayed: {names(missing)} (see `pgq tasks retry`)")


@click.command()
@click.argument("ids", type=task_id, nargs=-1, metavar="[ID]...")
@conditions
@all_option
@note_option
@click.option("--yes", is_flag=True, help="Ask nothing.")
@dry_option
@json_option
@dsn_option
def purge(everything: bool, note: str, yes: bool, dry_run: bool, as_json: bool, dsn: str | None, **given: Any) -> None:
    """Delete dead letters for good.

    Those given by id, those that fit all conditions, or --all. Asks first, unless --yes is given.

    \b
    Examples:
      pgq dead purge 17 18
      pgq dead purge --queue webhooks --older 30d --dry-run
      pgq dead purge --queue webhooks --older 30d --yes
    """
    from pgq.audit import whoami
    from pgq.letters import count as count_them
    from pgq.letters import purge as delete

    wanted = _some(given, everything=everything, dry_run=dry_run)
    with database(dsn) as conn:
        if dry_run:
            _preview(conn, wanted, "deleted", as_json=as_json)
            return
        missing = _missing(conn, wanted)
        if not yes and (found := sum(count_them(conn, wanted).values())):
            _ask(f"Delete {count(found, 'dead letter')} for good?")
        done = _watched("Deleted", delete(conn, wanted, actor=whoami(), note=note))
        _report(conn, done, ("Deleted", "delete"), pace=None, as_json=as_json)
    if missing:
        raise Failure(f"not dead, so not deleted: {names(missing)}")


def _somebody_is_there() -> bool:
    import sys

    return sys.stdin.isatty()


def _ask(question: str) -> None:
    if not _somebody_is_there():
        raise Failure("nobody is there to be asked: give --yes, or look first with --dry-run")
    if not click.confirm(question, err=True):
        raise Failure("nothing was deleted")


def _missing(conn: Connection, wanted: Which) -> list[int]:
    """Return the given ids that are not dead."""
    from pgq.cli.rows import DeadRow, fetch
    from pgq.letters import Which

    if not wanted.ids:
        return []
    found = fetch(conn, DeadRow, "list_dead", {**Which(ids=wanted.ids).values, "limit": len(wanted.ids)})
    return sorted(set(wanted.ids) - {row.id for row in found})


def _preview(conn: Connection, wanted: Which, verb: str, *, as_json: bool) -> None:
    from dataclasses import asdict

    from pgq.cli.rows import DeadRow, fetch
    from pgq.letters import count as count_them

    queues = count_them(conn, wanted)
    sample = fetch(conn, DeadRow, "list_dead", {**wanted.values, "limit": SAMPLE})
    total = sum(queues.values())
    if as_json:
        echo_json({"count": total, "queues": queues, "sample": [asdict(row) for row in sample]})
        return
    lines = [(r.id, r.queue, r.task, r.died_at, r.last_error) for r in sample]
    echo_table(lines, ("ID", "QUEUE", "TASK", "DIED", "LAST ERROR"), none=f"Nothing would be {verb}.")
    if total > len(sample):
        click.echo(f"… and {total - len(sample)} that died before: {names(f'{k} {v}' for k, v in queues.items())}")
    if total:
        click.echo(f"{count(total, 'dead letter')} would be {verb}.")


def _watched(verb: str, batches: Iterable[Progress]) -> Progress:
    """Carry a replay or purge out; where it is stopped, say what it has done."""
    from pgq.letters import Progress

    so_far = Progress()
    try:
        for so_far in batches:  # noqa: B007 - the last one is the result
            pass
    except KeyboardInterrupt:
        done = f"{verb} at least {count(so_far.changed, 'dead letter')} (`pgq audit` has the number)"
        click.echo(f"pgq: stopped. {done}; the others are as they were", err=True)
        raise
    return so_far


def _report(conn: Connection, done: Progress, verbs: tuple[str, str], *, pace: float | None, as_json: bool) -> None:
    if as_json:
        echo_json({"changed": done.changed, "refused": list(done.refused), "left_alone": done.left})
    else:
        ends = f"; the last is due {seconds(round((done.changed - 1) / pace, 1))} after the first" if pace else ""
        none = f"Nothing to {verbs[1]}."
        click.echo(f"{verbs[0]} {count(done.changed, 'dead letter')}{ends}." if done.changed else none)
    if done.left:
        click.echo(f"pgq: {count(done.left, 'dead letter')} left alone: somebody else was at it", err=True)
    if done.refused:
        _name_holders(conn, done.refused)
        raise Failure(f"{count(len(done.refused), 'dead letter')} could not be replayed, and stayed dead")


def _name_holders(conn: Connection, refused: tuple[int, ...]) -> None:
    from pgq.db import Call, run

    for task, queue, key, holder in run(conn, Call("key_holders", {"ids": list(refused[:NAMED])})):
        by = f"held by task {holder}" if holder else "being taken, or was a moment ago"
        click.echo(one_line(f"pgq: task {task}: unique_key {key!r} of queue {queue!r} is {by}"), err=True)
    if len(refused) > NAMED:
        click.echo(f"pgq: … and {len(refused) - NAMED} more", err=True)
