"""`pgq demo`: the four example queues at work."""

from __future__ import annotations

import click

from pgq.cli.failure import check_dsn, connecting
from pgq.cli.options import FiniteRange, dsn_option
from pgq.config import Config

_above_zero = FiniteRange(min=0, min_open=True)


@click.command()
@click.option("--seconds", type=_above_zero, default=100, show_default=True, help="How long it may take.")
@click.option("--tasks", type=int, default=625, show_default=True, help="About how many tasks to enqueue.")
@click.option("--speed", type=_above_zero, default=4, show_default=True, metavar="N",
              help="How much shorter the windows of the limits are; 1: as in earnest.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document.")
@click.option("--redis-url", metavar="URL", help="For the limits; default: PGQ_REDIS_URL, else the embedded one.")
@dsn_option
def demo(seconds: float, tasks: int, speed: float, as_json: bool, redis_url: str | None, dsn: str | None) -> None:
    """Watch four queues do real work.

    Mail, webhooks, PDFs and images, with limits, failures, retries and a killed worker. Without a database it
    starts the embedded servers, and leaves them up to look around. Needs pgq-tasks[demo].
    Exits with 1 when anything was lost, or a limit did not hold.

    Mail is limited to 100 a minute, webhooks to 50 in 10 s; --speed makes that minute and those 10 s shorter.

    \b
    Examples:
      pgq demo
      pgq demo --speed 1 --seconds 400
      pgq demo --json --dsn postgresql://localhost/scratch --redis-url redis://localhost
    """
    from pgq.demo.plan import Plan
    from pgq.demo.run import main

    chosen = Config.load(dsn=dsn, redis_url=redis_url)
    if chosen.dsn:
        check_dsn(chosen.dsn)
    plan = Plan(dsn=chosen.dsn, redis_url=chosen.redis_url, seconds=seconds, tasks=tasks, speed=speed)
    with connecting(chosen.dsn):
        code = main(plan, as_json=as_json)
    raise click.exceptions.Exit(code)
