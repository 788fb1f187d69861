"""The settings of queues and limits as the command line shows and changes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pgq.cli.failure import Failure
from pgq.cli.output import echo_json, echo_table, seconds

if TYPE_CHECKING:
    from psycopg import Connection

    from pgq.rows import QueueRow

HEADINGS = (
    "QUEUE", "AT ONCE", "RATE", "TIMEOUT", "TRIES", "RETRY AFTER", "KEPT", "DEAD LETTERS", "LIMITER DOWN", "PAUSED",
)  # fmt: skip
NO_QUEUES = "There are no queues: declare them in code and run `pgq queues sync module:app`."


def echo_queues(conn: Connection, name: str | None, *, as_json: bool) -> None:
    """Print every queue for None, else the one of this name."""
    from dataclasses import asdict

    from pgq.cli.rows import fetch
    from pgq.rows import QueueRow

    found = fetch(conn, QueueRow, "list_queues", {"name": name})
    if as_json:
        documents = [asdict(row) for row in found]
        echo_json(documents if name is None else documents[0])
        return
    echo_table([_line(row) for row in found], HEADINGS, none=NO_QUEUES)


def _line(row: QueueRow) -> tuple[Any, ...]:
    growth = f" doubling to {seconds(row.max_delay)}" if row.backoff == "exponential" else ""
    jitter = f" +{row.jitter:.0%}" if row.jitter else ""
    return (
        row.name,
        row.concurrency,
        rate_text(row.rate_max, row.rate_per),
        seconds(row.timeout),
        row.max_attempts,
        f"{seconds(row.delay)}{growth}{jitter}",
        seconds(row.retention),
        "kept" if row.keep_dead else "no",
        row.on_limiter_down,
        row.paused_at,
    )


def rate_text(most: int | None, per: float | None) -> str | None:
    """Return a rate as options take it: 100/1m."""
    return None if most is None else f"{most}/{seconds(per)}"


def change(conn: Connection, queue: str, given: Mapping[str, Any]) -> None:
    """Change settings of one queue; refused as a whole. Raises Failure for an unknown one, InvalidOption."""
    from dataclasses import asdict, replace

    from pgq.audit import record, whoami
    from pgq.db import Call, run
    from pgq.queue import Rate, Settings

    with conn.transaction():
        rows = run(conn, Call("lock_queue", {"name": queue}))
        if not rows:
            raise Failure(f"unknown queue {queue!r}: see `pgq queues list`")
        before = Settings.from_row(rows[0])
        settings = replace(before, **given)
        if settings.rate_max is not None and settings.rate_per is not None:
            Rate(settings.rate_max, settings.rate_per)  # refuses what limits nothing
        run(conn, Call("set_queue", asdict(settings)))
        if changed := changes(asdict(before), asdict(settings)):
            run(conn, record("queues set", queue=queue, filter=changed, actor=whoami()))


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return what differs, by its name: what it was, and what it is."""
    return {name: [before.get(name), value] for name, value in after.items() if before.get(name) != value}


def change_limit(conn: Connection, kind: str, given: Mapping[str, Any]) -> None:
    """Change what each key of one kind may do; makes a new kind. Raises InvalidOption, also for no limit at all."""
    from pgq.audit import record, whoami
    from pgq.db import Call, run
    from pgq.errors import InvalidOption
    from pgq.queue import Rate
    from pgq.quota import KeyLimit

    if kind == "queue":
        raise InvalidOption("limit 'queue' would stand for the limits of queues: see `pgq queues set --help`")
    names = ("rate_max", "rate_per", "concurrency")
    with conn.transaction():
        rows = run(conn, Call("lock_limit", {"name": kind}))
        before = dict(zip(names, rows[0] if rows else (None, None, None), strict=True))
        values = {**before, **given}
        rate = None if values["rate_max"] is None else Rate(values["rate_max"], values["rate_per"])
        KeyLimit.declare(kind, rate, values["concurrency"])  # refuses what limits nothing
        run(conn, Call("set_limit", {"name": kind, **values}))
        if changed := changes(before, values):
            run(conn, record("limits set", filter={"limit": kind, **changed}, actor=whoami()))
