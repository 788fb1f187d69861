"""`pgq alerts add-target …`: whom alerts tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from pgq.cli.failure import Failure
from pgq.cli.options import dsn_option
from pgq.cli.output import count, echo_table
from pgq.cli.session import database

if TYPE_CHECKING:
    from psycopg import Connection

    from pgq.cli.rows import TargetRow

COLUMNS = ("TARGET", "KIND", "WHERE", "LAST SENT", "WAITING", "LAST ERROR")
NO_TARGETS = "There are no targets, so no rule is looked at: see `pgq alerts add-target --help`."


@click.command("add-target")
@click.argument("target")
@click.option("--webhook", metavar="URL", help="POST JSON to this URL; env:VARIABLE where the URL is a secret.")
@click.option("--secret", metavar="VARIABLE", help="Sign what is posted (HMAC-SHA256) with the value of a variable.")
@click.option("--header", "headers", multiple=True, metavar="NAME=VARIABLE",
              help="Send this header with the value of a variable; may be repeated.")  # fmt: skip
@click.option("--command", metavar="JSON", help='Run a program: ["/path", "argument"]; no shell, JSON on its stdin.')
@click.option("--mail", "to", multiple=True, metavar="ADDRESS", help="Mail this address; may be repeated.")
@click.option("--from", "sender", metavar="ADDRESS", help="The sender of mails; default: the first address.")
@dsn_option
def add_target(target: str, dsn: str | None, **given: Any) -> None:
    """Add a target, or change the one of that name.

    Secrets stay out of the database: a VARIABLE is one of the environment of the workers that deliver. They find
    the mail server in PGQ_SMTP_URL, and run only programs that their PGQ_ALERT_COMMANDS lists.

    \b
    Examples:
      pgq alerts add-target ops --webhook https://hooks.example.org/pgq --secret HOOK_SECRET
      pgq alerts add-target chat --webhook env:CHAT_URL
      pgq alerts add-target pager --command '["/usr/local/bin/page", "--team", "ops"]'
      pgq alerts add-target mail --mail ops@example.org --from pgq@example.org
    """
    from pgq.alerts.rules import keep_target

    kind, settings = _settings(given)
    with database(dsn) as conn:
        keep_target(conn, target, kind, settings)
    click.echo(f"{target}: kept; `pgq alerts test {target}` tries it")


@click.command("remove-target")
@click.argument("target")
@dsn_option
def remove_target(target: str, dsn: str | None) -> None:
    """Remove a target; not while a rule names it.

    \b
    Examples:
      pgq alerts remove-target chat
    """
    from pgq.db import Call, run

    with database(dsn) as conn:
        rows = run(conn, Call("remove_alert_target", {"name": target}))
    if not rows:
        raise Failure(f"no target {target!r}: see `pgq alerts list`")
    if rows[0][1]:
        raise Failure(f"{count(rows[0][1], 'rule')} tell target {target!r}: change or remove them first")
    click.echo(f"{target}: removed")


def test_target(conn: Connection, name: str) -> None:
    """Send a test note to a target. Raises Failure when there is none of that name, DeliveryError."""
    import uuid

    from pgq.alerts.note import Note
    from pgq.alerts.targets import KINDS
    from pgq.cli.rows import TargetRow, fetch

    found = fetch(conn, TargetRow, "list_alert_targets", {"name": name})
    if not found:
        raise Failure(f"no rule and no target {name!r}: see `pgq alerts list`")
    body = {"rule": "test", "summary": "a test", "text": "pgq alert test: a test", "firing": [], "recovered": []}
    KINDS[found[0].kind].send(found[0].settings, Note(str(uuid.uuid4()), "test", name, body))
    click.echo(f"{name}: a test note was sent")


def echo_targets(targets: Sequence[TargetRow]) -> None:
    """Print targets, without what may be secret."""
    from pgq.alerts.targets import KINDS

    lines = [(t.name, t.kind, KINDS[t.kind].shown(t.settings), t.sent_at, t.waiting, t.last_error) for t in targets]
    echo_table(lines, COLUMNS, none=NO_TARGETS)


def _settings(given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the kind of target that the options describe, and its settings. Raises UsageError."""
    kinds = {"--webhook": given["webhook"], "--command": given["command"], "--mail": given["to"]}
    if len([kind for kind, value in kinds.items() if value]) != 1:
        raise click.UsageError("say one of --webhook, --command and --mail.")
    if not given["webhook"] and (given["secret"] or given["headers"]):
        raise click.UsageError("--secret and --header belong to --webhook.")
    if given["webhook"]:
        return "webhook", {"url": given["webhook"], "secret": given["secret"], "headers": _headers(given["headers"])}
    if given["command"]:
        return "command", {"argv": _argv(given["command"])}
    return "mail", {"to": list(given["to"]), "from": given["sender"] or given["to"][0]}


def _headers(words: Sequence[str]) -> dict[str, str]:
    headers = {}
    for word in words:
        name, equals, variable = word.partition("=")
        if not (equals and name and name.replace("-", "").isalnum() and name.isascii()):
            raise click.UsageError(f"--header must look like Authorization=VARIABLE, got {word!r}.")
        headers[name] = variable
    return headers


def _argv(text: str) -> Any:
    import json

    try:
        return json.loads(text)
    except ValueError:
        raise click.UsageError("""--command must be a JSON list, such as '["/usr/local/bin/page", "ops"]'.""") from None
