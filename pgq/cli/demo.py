"""`pgq demo`: the four example queues at work."""

from __future__ import annotations

import click

from pgq.cli.failure import check_dsn, connecting
from pgq.cli.options import dsn_option
from pgq.config import Config


@click.command()
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), default=100, show_default=True,
              help="How long it may take.")  # fmt: skip
@click.option("--tasks", type=int, default=400, show_default=True, help="About how many tasks to enqueue.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document.")
@dsn_option
def demo(seconds: float, tasks: int, as_json: bool, dsn: str | None) -> None:
    """Watch four queues do real work.

    Mail, webhooks, PDFs and images, with failures, retries and a killed worker. Without a database it starts
    the embedded servers, and leaves them up to look around. Needs pgq-tasks[demo].
    Exits with 1 when anything was lost.

    \b
    Examples:
      pgq demo
      pgq demo --seconds 300 --tasks 5000
      pgq demo --json --dsn postgresql://localhost/scratch
    """
    from pgq.demo.run import main

    chosen = Config.load(dsn=dsn).dsn
    if chosen:
        check_dsn(chosen)
    with connecting(chosen):
        code = main(dsn=chosen or None, seconds=seconds, tasks=tasks, as_json=as_json)
    raise click.exceptions.Exit(code)
