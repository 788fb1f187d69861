"""The watch: look at the rules whose turn it is, and write down what is to be told. Any number of workers share it.

A turn is one transaction: take the rule (its row is locked, nobody waits), look, note what fired and what recovered,
and enqueue the notes. A rule that fails says so in its row and stops no other.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from time import monotonic
from typing import Any

import psycopg

from pgq.alerts.look import look
from pgq.alerts.note import Alert, body
from pgq.db import Call, arun
from pgq.errors import InvalidOption
from pgq.handler import ALERTS

log = logging.getLogger("pgq")

TASK = "pgq.deliver_alert"
EVERY = 2.0  # seconds between two looks at one rule, at least
NAP = 1.0  # seconds between two searches for a rule whose turn it is, give or take a fifth
WINDOW = 600.0  # seconds in which there are at most
PER_RULE = 6  # notes of one rule, and
IN_ALL = 30  # notes; what is beyond that waits, and goes with a later note of its rule
KEPT = 30 * 86_400.0  # seconds
PRUNE = 3_600.0  # seconds between two prunings


async def watch(conn: psycopg.AsyncConnection) -> None:
    """Watch on this connection for ever. Raises psycopg.Error when it is lost."""
    prune_at = monotonic() + random.random() * PRUNE  # noqa: S311 - jitter
    while True:
        while await turn(conn):
            pass
        if monotonic() > prune_at:
            await arun(conn, Call("prune_alerts", {"kept": KEPT}))
            prune_at = monotonic() + PRUNE
        await asyncio.sleep(random.uniform(0.8, 1.2) * NAP)  # noqa: S311 - jitter


async def turn(conn: psycopg.AsyncConnection, every: float = EVERY) -> bool:
    """Look at one rule, if it is any one's turn; returns whether it was."""
    async with conn.transaction():
        await conn.execute("set local idle_in_transaction_session_timeout = '5s'")
        rules = await arun(conn, Call("alert_turn", {"every": every}))
        for name, query, targets in rules:
            await _look_at(conn, name, query)
            await _tell(conn, name, targets)
    return bool(rules)


async def _look_at(conn: psycopg.AsyncConnection, rule: str, query: str) -> None:
    began, wrong = monotonic(), None
    try:
        found = await look(conn, query)
    except (psycopg.Error, InvalidOption) as error:
        if conn.closed:
            raise
        wrong = said(error)
        log.warning("alert rule %s cannot be looked at: %s", rule, wrong)
    else:
        keys, messages = [one.key for one in found], [one.message for one in found]
        await arun(conn, Call("alert_found", {"rule": rule, "keys": keys, "messages": messages}))
    await arun(conn, Call("alert_ran", {"rule": rule, "took": monotonic() - began, "error": wrong}))


async def _tell(conn: psycopg.AsyncConnection, rule: str, targets: list[str] | None) -> None:
    bounds = {"rule": rule, "per_rule": PER_RULE, "in_all": IN_ALL, "window": WINDOW}
    alerts = [Alert(*row) for row in await arun(conn, Call("alert_untold", bounds))]
    if not alerts:
        return
    values: dict[str, Any] = {
        "rule": rule,
        "targets": targets,
        "ids": [alert.id for alert in alerts],
        "body": json.dumps(body(rule, alerts)),
        "queue": ALERTS,
        "task": TASK,
    }
    tasks = await arun(conn, Call("alert_tell", values))
    log.warning("alert rule %s: %s things to tell, to %s targets", rule, len(alerts), len(tasks))


def said(error: Exception) -> str:
    """Return what an error says, in one line."""
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    return (primary or str(error) or type(error).__name__).splitlines()[0]
