"""`pgq sql`: questions in plain SQL that can change nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from pgq.cli.failure import Failure
from pgq.cli.options import FiniteRange, dsn_option, json_option
from pgq.cli.output import count, echo_json, echo_table
from pgq.cli.session import database

if TYPE_CHECKING:
    from pgq.readonly import Answer


@click.command()
@click.argument("question", required=False)
@click.option("--list", "listing", is_flag=True, help="List the ready-made questions.")
@click.option("--run", "name", metavar="NAME", help="Ask a ready-made question.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, with a header.")
@json_option
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1, 1_000_000), help="Rows at most.")
@click.option("--timeout", default=5.0, show_default=True, type=FiniteRange(0.001, 3600), help="Seconds it may take.")
@dsn_option
def sql(
    question: str | None, listing: bool, name: str | None, as_csv: bool, as_json: bool, limit: int, timeout: float,
    dsn: str | None,
) -> None:  # fmt: skip
    """Ask a question in SQL that changes nothing.

    One query over the tables and views of pgq, checked before it runs; then in a read-only transaction, as the role
    pgq_monitor where it exists, which may not read payloads. QUESTION - is read from standard input.

    \b
    Examples:
      pgq sql "select queue, pending, oldest_due_age from pgq.queue_stats"
      pgq sql --list
      pgq sql --run dead-by-error --csv
    """
    from pgq.readonly import ask

    if listing:
        rows = _questions()
        if as_json:
            echo_json([{"name": title, "about": about} for title, about, _ in rows])
        else:
            echo_table([row[:2] for row in rows], ("NAME", "ABOUT"), none="There are none.")
        return
    text = _chosen(question, name)
    with database(dsn) as conn:
        answer = ask(conn, text, limit=limit, timeout=timeout)
    _echo(answer, as_csv=as_csv, as_json=as_json)
    if answer.cut:
        click.echo(f"pgq: there are more than {count(limit, 'row')}: see --limit", err=True)


def _chosen(question: str | None, name: str | None) -> str:
    """Return the text to ask: what is given, what comes in, or a ready-made one. Raises UsageError, Failure."""
    if (question is None) == (name is None):
        raise click.UsageError("Give a question, or --run NAME; see --list.")
    if name is not None:
        found = {title: text for title, _, text in _questions()}
        if name not in found:
            raise Failure(f"no question is called {name!r}: see `pgq sql --list`")
        return found[name]
    return sys.stdin.read() if question == "-" else str(question)


def _questions() -> list[tuple[str, str, str]]:
    """Return the ready-made questions: name, what they tell, and the SQL."""
    from pgq import statements

    found = []
    for file in statements.files("questions"):
        text = file.read_text("utf-8")
        title, _, about = text.splitlines()[0].removeprefix("-- ").partition(": ")
        found.append((title, about, text))
    return found


def _echo(answer: Answer, *, as_csv: bool, as_json: bool) -> None:
    if as_json:
        echo_json([dict(zip(answer.columns, row, strict=True)) for row in answer.rows])
    elif as_csv:
        import csv

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(answer.columns)
        writer.writerows(answer.rows)
    elif answer.columns:
        echo_table(answer.rows, answer.columns, none="No rows.")
