"""`pgq top`: a live view in the terminal."""

from __future__ import annotations

import click

from pgq.cli.options import dsn_option, duration
from pgq.cli.session import configure


@click.command()
@click.option("--interval", type=duration, default="1s", show_default=True, help="How often it looks.")
@dsn_option
def top(interval: float, dsn: str | None) -> None:
    """Watch queues, workers and running tasks live, and steer them.

    Arrows select, tab goes from the queues to the tasks, v shows dead letters instead of what runs. p pauses or
    resumes a queue, r starts a dead letter over (on a queue: all its dead letters), c cancels a task; each asks
    first. / filters, s sorts, ? explains, q ends. Needs pgq-tasks[top], and a terminal of 60x12 or more.

    \b
    Examples:
      pgq top
      pgq top --interval 5s
    """
    import sys

    from pgq.cli.failure import Failure

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Failure("pgq top needs a terminal; `pgq stats --watch` does not")
    try:
        from pgq.cli.top.screen import show
    except ImportError:
        raise Failure("pgq top needs rich: pip install 'pgq-tasks[top]'") from None
    if interval <= 0:
        raise click.UsageError("--interval must be above 0.")
    show(configure(dsn).dsn, interval)
