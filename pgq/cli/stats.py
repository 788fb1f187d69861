"""`pgq stats`: how it goes, once or again and again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from pgq.cli.options import dsn_option, duration, json_option
from pgq.cli.output import about, echo_json, table
from pgq.cli.session import database
from pgq.cli.settings import NO_QUEUES
from pgq.errors import UnknownQueue

if TYPE_CHECKING:
    from psycopg import Connection

    from pgq.cli.rows import StatsRow

NARROW = ("QUEUE", "PENDING", "RUN", "IN/S", "OUT/S", "WAIT", "P95", "DONE", "FAILED", "DEAD", "OLDEST", "")
WIDE = (
    "QUEUE", "PENDING", "DUE", "THROTTLED", "RUNNING", "IN/S 1M", "5M", "60M", "OUT/S 1M", "5M", "60M", "WAIT P50",
    "P95", "RUN P50", "P95", "COMPLETED", "FAILED", "DEAD", "CANCELLED", "RETRIED", "OLDEST", "THROTTLED UNTIL", "",
)  # fmt: skip
LONGEST = 18  # characters of a queue's name in the narrow table


@click.command()
@click.option("--queue", help="Only this queue.")
@click.option("--wide", is_flag=True, help="All there is, in a line of any length.")
@click.option("--watch", is_flag=True, help="Again and again, until q or ^C.")
@click.option("--interval", type=duration, default="2s", show_default=True, help="How often, with --watch.")
@json_option
@dsn_option
def stats(queue: str | None, wide: bool, watch: bool, interval: float, as_json: bool, dsn: str | None) -> None:
    """Show what waits, runs and ended in each queue, and how fast.

    IN/S and OUT/S are tasks per second that arrived and ended in the last minute, WAIT how long they waited (median
    and 95th percentile of 5 minutes), DONE, FAILED and DEAD what ended in the last 24 hours, OLDEST for how long the
    oldest waiting task has been due. The same as `select * from pgq.queue_stats`.

    \b
    Examples:
      pgq stats
      pgq stats --watch --interval 1s
      pgq stats --queue email --json
    """
    if watch and as_json:
        raise click.UsageError("--watch shows a table: leave --json out.")
    if interval <= 0:
        raise click.UsageError("--interval must be above 0.")
    with database(dsn) as conn:
        if watch:
            _watch(conn, queue, interval, wide=wide)
        elif as_json:
            from dataclasses import asdict

            echo_json([asdict(row) for row in look(conn, queue)])
        else:
            click.echo(picture(look(conn, queue), wide=wide))


def look(conn: Connection, queue: str | None) -> list[StatsRow]:
    """Return how it goes in one or all queues. Raises UnknownQueue."""
    from pgq.cli.rows import StatsRow, fetch

    found = fetch(conn, StatsRow, "list_stats", {"queue": queue})
    if queue is not None and not found:
        raise UnknownQueue(f"unknown queue {queue!r}: see `pgq queues list`")
    return found


def picture(rows: Sequence[StatsRow], *, wide: bool) -> str:
    """Return the table."""
    if not rows:
        return NO_QUEUES
    return table([_wide(row) if wide else _narrow(row) for row in rows], WIDE if wide else NARROW)


def _narrow(r: StatsRow) -> tuple[Any, ...]:
    name = r.queue if len(r.queue) <= LONGEST else f"{r.queue[: LONGEST - 1]}…"
    pending = f"{'~' if r.estimated else ''}{short(r.pending)}"
    state = "limited" if r.state == "throttled" else r.state
    return (
        name, f"{pending:>7}", r.processing, rate(r.arrived_1m), rate(r.served_1m), span(r.wait_p50), span(r.wait_p95),
        f"{short(r.completed):>5}", f"{short(r.failed):>6}", f"{short(r.dead):>5}", about(r.oldest_due_age), state,
    )  # fmt: skip


def short(number: int) -> str:
    """Return a count in at most five characters, up to a billion."""
    for unit, size in (("M", 10_000_000), ("k", 100_000)):
        if number >= size:
            return f"{number // (1_000_000 if unit == 'M' else 1_000)}{unit}"
    return str(number)


def _wide(r: StatsRow) -> tuple[Any, ...]:
    return (
        r.queue, r.pending, r.due, r.throttled, r.processing, rate(r.arrived_1m), rate(r.arrived_5m),
        rate(r.arrived_60m), rate(r.served_1m), rate(r.served_5m), rate(r.served_60m), span(r.wait_p50),
        span(r.wait_p95), span(r.run_p50), span(r.run_p95), r.completed, r.failed, r.dead, r.cancelled, r.retried,
        about(r.oldest_due_age), r.throttled_until, r.state,
    )  # fmt: skip


def rate(value: float | None) -> float | None:
    """Return a rate as it is read: three digits, no more."""
    return None if value is None else float(f"{value:.3g}")


def span(value: float | None) -> str | None:
    """Return a short time as it is read: 3ms, 1.2s, 45s, 3m."""
    if value is None:
        return None
    if value < 1:
        return f"{value * 1000:.0f}ms"
    return f"{value:.1f}s" if value < 10 else about(value)  # noqa: PLR2004 - where a tenth matters


def _watch(conn: Connection, queue: str | None, interval: float, *, wide: bool) -> None:
    """Draw the table again and again; where this is no terminal, one below the other."""
    import sys
    from datetime import datetime
    from time import sleep

    from pgq.cli.keyboard import Keyboard

    drawn = sys.stdout.isatty()
    with Keyboard() as keyboard:
        while True:
            now = datetime.now().astimezone().strftime("%H:%M:%S")
            text = f"{now}, every {interval:g} s; q ends\n\n{picture(look(conn, queue), wide=wide)}"
            click.echo(f"\x1b[H\x1b[2J{text}" if drawn else f"{text}\n")
            if not keyboard.there:
                sleep(interval)
            elif {"q", "escape"} & set(keyboard.keys(interval)):
                return
