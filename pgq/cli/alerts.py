"""`pgq alerts …`: what is watched, what fired, and who is told."""

from __future__ import annotations

import click

from pgq.cli.alert_targets import add_target, echo_targets, remove_target, test_target
from pgq.cli.failure import Failure
from pgq.cli.options import dsn_option, json_option, limit_option
from pgq.cli.output import about, echo_json, echo_table, names
from pgq.cli.session import configure, database

COLUMNS = ("RULE", "FIRING", "TELLS", "LOOKED AT", "TOOK", "ERROR")
HISTORY = ("FIRED", "RECOVERED", "RULE", "MESSAGE", "TOLD", "TRIES", "LAST ERROR")
NO_RULES = "There are no rules: see `pgq alerts add --help`."


@click.group()
def alerts() -> None:
    """Raise alerts: by rules in SQL, to webhooks, commands and mail.

    Workers started with --alerts look at every rule every few seconds and tell its targets what it finds: once, until
    it has recovered. There are rules from the start; add a target, and they are looked at.

    \b
    Examples:
      pgq alerts add-target ops --webhook https://hooks.example.org/pgq
      pgq worker shop.tasks:app --alerts
      pgq alerts list
    """


@alerts.command("list")
@json_option
@dsn_option
def list_alerts(as_json: bool, dsn: str | None) -> None:
    """List the rules, what they find now, and the targets.

    A rule that cannot be looked at says why under ERROR; what it had found before stays as it was.

    \b
    Examples:
      pgq alerts list
      pgq alerts list --json                    the queries too
    """
    from dataclasses import asdict

    from pgq.cli.rows import RuleRow, TargetRow, fetch

    with database(dsn) as conn:
        rules = fetch(conn, RuleRow, "list_alert_rules", {"name": None})
        targets = fetch(conn, TargetRow, "list_alert_targets", {"name": None})
    if as_json:
        echo_json({"rules": [asdict(rule) for rule in rules], "targets": [asdict(target) for target in targets]})
        return
    lines = [
        (r.name, r.firing, "all" if r.targets is None else names(r.targets), r.ran_at, f"{r.took:.3f}s", r.error)
        for r in rules
    ]
    echo_table(lines, COLUMNS, none=NO_RULES)
    click.echo()
    echo_targets(targets)


@alerts.command()
@click.argument("rule")
@click.argument("query")
@click.option("--to", "targets", multiple=True, metavar="TARGET", help="Whom to tell, may be repeated; default: all.")
@dsn_option
def add(rule: str, query: str, targets: tuple[str, ...], dsn: str | None) -> None:
    """Add a rule, or change the one of that name.

    QUERY is one select over the views (`\\d+ pgq.*` explains them). No row: all is well. Each row is something wrong:
    its column message says what, its column key tells it from the others. It is run once, read-only, before it is
    kept.

    \b
    Examples:
      pgq alerts add mail-late "select queue as key, 'mail waits for ' || wait || ' s' as message
                                from pgq.autoscale where queue = 'email' and wait > 60" --to ops
      pgq alerts add oldest-age "select queue as key, 'late: ' || queue as message
                                 from pgq.autoscale where wait > 60"
    """
    from pgq.alerts.rules import check_name, keep_rule, try_out

    check_name("a rule's name", rule)
    config = configure(dsn)
    found = try_out(config.dsn, query)
    with database(dsn) as conn:
        keep_rule(conn, rule, query, targets or None)
    click.echo(f"{rule}: kept; it finds {len(found) or 'nothing'} now")


@alerts.command()
@click.argument("rule")
@dsn_option
def remove(rule: str, dsn: str | None) -> None:
    """Remove a rule; what it had found has ended, and nobody is told.

    \b
    Examples:
      pgq alerts remove mail-late
    """
    from pgq.db import Call, run

    with database(dsn) as conn:
        if not run(conn, Call("remove_alert_rule", {"name": rule})):
            raise Failure(f"no rule {rule!r}: see `pgq alerts list`")
    click.echo(f"{rule}: removed")


@alerts.command()
@click.argument("name")
@json_option
@dsn_option
def test(name: str, as_json: bool, dsn: str | None) -> None:
    """Try a rule, or a target.

    A rule is looked at once, and what it finds is printed; nobody is told. To a target a test note is sent, from here
    and with this environment; exits with 1 when it does not arrive.

    \b
    Examples:
      pgq alerts test dead-letters
      pgq alerts test ops
    """
    from dataclasses import asdict

    from pgq.alerts.rules import try_out
    from pgq.cli.rows import RuleRow, fetch

    config = configure(dsn)
    with database(dsn) as conn:
        rules = fetch(conn, RuleRow, "list_alert_rules", {"name": name})
        if not rules:
            test_target(conn, name)
            return
    found = try_out(config.dsn, rules[0].query)
    if as_json:
        echo_json([asdict(one) for one in found])
    else:
        echo_table([(one.key, one.message) for one in found], ("KEY", "MESSAGE"), none=f"{name}: it finds nothing.")


@alerts.command()
@click.option("--rule", help="Only this rule.")
@limit_option
@json_option
@dsn_option
def history(rule: str | None, limit: int, as_json: bool, dsn: str | None) -> None:
    """List what fired, the newest first, and whether it was delivered.

    TOLD is how many of its notes arrived, of how many; TRIES how often delivery was tried.

    \b
    Examples:
      pgq alerts history
      pgq alerts history --rule dead-letters --json
    """
    from dataclasses import asdict

    from pgq.cli.rows import AlertRow, fetch

    with database(dsn) as conn:
        found = fetch(conn, AlertRow, "list_alerts", {"rule": rule, "limit": limit})
    if as_json:
        echo_json([asdict(row) for row in found])
        return
    lines = [
        (r.fired_at, about(r.lasted), r.rule, r.message, f"{r.sent}/{r.notes}", r.attempts, r.last_error) for r in found
    ]
    echo_table(lines, HISTORY, none="Nothing has fired yet.")


alerts.add_command(add_target)
alerts.add_command(remove_target)
