"""Rules and targets as operators write them: checked before they are kept."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from pgq.alerts.look import Found, look
from pgq.alerts.secret import check_variable
from pgq.alerts.targets import KINDS
from pgq.alerts.watch import said
from pgq.connect import aconnect
from pgq.db import Call, run
from pgq.errors import InvalidOption
from pgq.readonly import check

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\Z")


def check_name(what: str, name: str) -> str:
    """Return a name. Raises InvalidOption."""
    if not _NAME.match(name):
        raise InvalidOption(f"{what} must be 1 to 100 of letters, digits and _ . -, got {name!r:.80}")
    return name


def try_out(dsn: str, query: str) -> list[Found]:
    """Return what a query finds, looked at as the workers do. Raises Refused, InvalidOption where that fails."""

    async def once() -> list[Found]:
        async with await aconnect(dsn, "alerts") as conn:
            return await look(conn, check(query))

    try:
        return asyncio.run(once())
    except psycopg.Error as error:
        raise InvalidOption(f"the query of the rule fails: {said(error)}") from None


def keep_rule(conn: psycopg.Connection, name: str, query: str, targets: Sequence[str] | None) -> None:
    """Write a rule, new or in place of the one of its name. Raises InvalidOption for a target that is not there."""
    known = {row[0] for row in run(conn, Call("list_alert_targets", {"name": None}))}
    for target in targets or ():
        if target not in known:
            raise InvalidOption(f"there is no target {target!r:.80}, there are: {', '.join(sorted(known)) or 'none'}")
    values = {"name": check_name("a rule's name", name), "query": query, "targets": targets and list(targets)}
    run(conn, Call("set_alert_rule", values))


def keep_target(conn: psycopg.Connection, name: str, kind: str, settings: Mapping[str, Any]) -> None:
    """Write a target, new or in place of the one of its name. Raises InvalidOption."""
    check_name("a target's name", name)
    KINDS[kind].check(settings)
    url = str(settings.get("url", ""))
    for variable in (
        settings.get("secret"),
        *settings.get("headers", {}).values(),
        url[4:] if url[:4] == "env:" else "",
    ):
        if variable:
            check_variable(variable)
    run(conn, Call("set_alert_target", {"name": name, "kind": kind, "settings": json.dumps(settings)}))
