"""`pgq alerts`: rules and targets are checked before they are kept, tried on request, and shown without secrets."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from command_line import document, invoke, refuse, succeed
from factory import make_task
from receivers import Hook, hook

RULE = "select queue as key, 'it waits: ' || queue as message from pgq.autoscale where backlog > 0"


@pytest.fixture
def ops() -> Iterator[Hook]:
    with hook() as receiver:
        yield receiver


def rules(dsn: str) -> dict[str, dict[str, object]]:
    return {rule["name"]: rule for rule in document("alerts", "list", "--dsn", dsn)["rules"]}


def test_the_list_shows_the_rules_that_come_with_it_and_says_that_nobody_is_told(dsn: str) -> None:
    said = succeed("alerts", "list", "--dsn", dsn)
    assert [line.split()[0] for line in said.splitlines()[1:5]] == ["dead-letters", "health", "no-worker", "oldest-age"]
    assert "There are no targets, so no rule is looked at" in said


def test_a_rule_is_run_before_it_is_kept_and_may_be_changed(dsn: str, conn: psycopg.Connection, ops: Hook) -> None:
    succeed("alerts", "add-target", "ops", "--webhook", ops.url, "--dsn", dsn)
    make_task(conn, queue="mail")
    said = succeed("alerts", "add", "mail-late", RULE, "--to", "ops", "--dsn", dsn)
    assert said == "mail-late: kept; it finds 1 now\n"
    assert rules(dsn)["mail-late"]["targets"] == ["ops"]
    succeed("alerts", "add", "mail-late", f"{RULE} and wait > 60", "--dsn", dsn)
    assert rules(dsn)["mail-late"]["targets"] is None
    assert succeed("alerts", "test", "mail-late", "--dsn", dsn) == "mail-late: it finds nothing.\n"
    succeed("alerts", "remove", "mail-late", "--dsn", dsn)
    assert "mail-late" not in rules(dsn)
    assert refuse("alerts", "remove", "mail-late", "--dsn", dsn) == "pgq: no rule 'mail-late': see `pgq alerts list`\n"


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("", "nothing is asked"),
        ("selec 1", "only a query may be asked, not SELEC"),
        ("select 1; select 2", "only one statement may be asked"),
        ("delete from pgq.tasks returning task as message", "only a query may be asked, not DELETE"),
        ("select pg_sleep(9)::text as message", "the function pg_sleep cannot be used here"),
        ("select rolname as message from pg_roles", "pg_roles is no public table or view of pgq"),
        ("select payload::text as message from tasks", "the query of the rule fails: permission denied"),
        ("select 1 as one", "its rows must have a column named message, they have: one"),
        ("select 1 / 0 as message", "the query of the rule fails: division by zero"),
        ("select message from pgq.nothing", "pgq.nothing is no public table or view of pgq"),
    ],
)
def test_what_is_no_rule_is_refused_in_a_sentence(query: str, sentence: str, dsn: str) -> None:
    assert sentence in refuse("alerts", "add", "bad", query, "--dsn", dsn)
    assert "bad" not in rules(dsn)


def test_a_rule_for_an_unknown_target_or_of_a_bad_name_is_refused(dsn: str) -> None:
    said = refuse("alerts", "add", "r", RULE, "--to", "boss", "--dsn", dsn)
    assert said == "pgq: there is no target 'boss', there are: none\n"
    assert "a rule's name must be" in refuse("alerts", "add", "a b", RULE, "--dsn", dsn)


def test_a_rule_is_tried_and_nobody_is_told(dsn: str, conn: psycopg.Connection) -> None:
    make_task(conn, queue="mail", status="dead", attempts=5, last_error="no such customer")
    (found,) = document("alerts", "test", "dead-letters", "--dsn", dsn)
    assert found["key"] == "mail"
    assert "no such customer" in found["message"]
    assert conn.execute("select count(*) from pgq.alerts").fetchone() == (0,)


def test_a_target_is_tried_from_here(dsn: str, ops: Hook) -> None:
    succeed("alerts", "add-target", "ops", "--webhook", f"{ops.url}/hook", "--dsn", dsn)
    assert succeed("alerts", "test", "ops", "--dsn", dsn) == "ops: a test note was sent\n"
    post = ops.next()
    assert (post.path, post.document["rule"]) == ("/hook", "test")
    ops.status = 503
    assert refuse("alerts", "test", "ops", "--dsn", dsn) == "pgq: webhook ops: answered 503\n"
    assert "no rule and no target 'boss'" in refuse("alerts", "test", "boss", "--dsn", dsn)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ([], 2, "say one of --webhook, --command and --mail"),
        (["--webhook", "http://h", "--mail", "a@b"], 2, "say one of --webhook, --command and --mail"),
        (["--mail", "a@b", "--secret", "X"], 2, "--secret and --header belong to --webhook"),
        (["--webhook", "http://h", "--header", "Authorization"], 2, "--header must look like Authorization=VARIABLE"),
        (["--webhook", "http://h", "--header", "A b=C"], 2, "--header must look like Authorization=VARIABLE"),
        (["--command", "/bin/ls"], 2, "--command must be a JSON list"),
        (["--command", '["ls"]'], 1, "a command must begin with the absolute path of a program, got 'ls'"),
        (["--webhook", "ftp://h"], 1, "the URL of a webhook must be http:// or https:// and a host"),
        (["--webhook", "http://me:pass@h"], 1, "the URL of a webhook must hold no password"),
        (["--webhook", "env:A B"], 1, "'A B' is no name of an environment variable"),
        (["--webhook", "http://h", "--secret", "PGQ_DSN"], 1, "PGQ_DSN is the worker's own secret"),
        (["--webhook", "http://h", "--header", "X=1"], 1, "'1' is no name of an environment variable"),
        (["--mail", "nobody"], 1, "a mail address must look like ops@example.org, got 'nobody'"),
    ],
)
def test_what_is_no_target_is_refused_in_a_sentence(words: list[str], code: int, sentence: str, dsn: str) -> None:
    assert sentence in refuse("alerts", "add-target", "t", *words, "--dsn", dsn, code=code)
    assert document("alerts", "list", "--dsn", dsn)["targets"] == []


def test_targets_are_listed_without_what_may_be_secret(dsn: str) -> None:
    for name, *words in [
        ("chat", "--webhook", "https://hooks.example.org/T0/s3cr3t"),
        ("hidden", "--webhook", "env:CHAT_URL", "--header", "Authorization=AUTH"),
        ("mail", "--mail", "ops@example.org", "--mail", "boss@example.org"),
        ("pager", "--command", '["/usr/bin/page", "s3cr3t"]'),
    ]:
        said = succeed("alerts", "add-target", name, *words, "--dsn", dsn)
        assert said == f"{name}: kept; `pgq alerts test {name}` tries it\n"
    said = succeed("alerts", "list", "--dsn", dsn)
    assert "s3cr3t" not in said
    for shown in (
        "https://hooks.example.org/…",
        "env:CHAT_URL",
        "ops@example.org, boss@example.org",
        "/usr/bin/page …",
    ):
        assert shown in said


def test_a_target_that_a_rule_names_stays(dsn: str, ops: Hook) -> None:
    succeed("alerts", "add-target", "ops", "--webhook", ops.url, "--dsn", dsn)
    succeed("alerts", "add", "r", RULE, "--to", "ops", "--dsn", dsn)
    assert "1 rule tell target 'ops'" in refuse("alerts", "remove-target", "ops", "--dsn", dsn)
    succeed("alerts", "remove", "r", "--dsn", dsn)
    assert succeed("alerts", "remove-target", "ops", "--dsn", dsn) == "ops: removed\n"
    assert "no target 'ops'" in refuse("alerts", "remove-target", "ops", "--dsn", dsn)


def test_history_says_what_fired_and_whether_it_was_delivered(dsn: str, conn: psycopg.Connection) -> None:
    assert succeed("alerts", "history", "--dsn", dsn) == "Nothing has fired yet.\n"
    conn.execute(
        "insert into pgq.alerts (rule, key, message, fired_at, recovered_at, told_at)"
        " values ('r', 'a', 'a is wrong', now() - interval '1 h', now() - interval '30 min', now())"
    )
    conn.execute(
        "insert into pgq.alert_notes (rule, target, body, attempts, last_error, sent_at, created_at)"
        " select 'r', t, jsonb_build_object('alerts', array[(select id from pgq.alerts)]), n, e, s,"
        " (select told_at from pgq.alerts)"
        " from (values ('ops', 1, null, now()), ('boss', 3, 'webhook boss: answered 500', null)) as v (t, n, e, s)"
    )
    (row,) = document("alerts", "history", "--rule", "r", "--dsn", dsn)
    assert (row["message"], row["notes"], row["sent"], row["attempts"]) == ("a is wrong", 2, 1, 4)
    assert row["last_error"] == "webhook boss: answered 500"
    assert "1/2" in succeed("alerts", "history", "--dsn", dsn)
    assert document("alerts", "history", "--rule", "other", "--dsn", dsn) == []


def test_words_that_make_no_sense_are_usage_errors(dsn: str) -> None:
    assert invoke("alerts", "add", "r", "--dsn", dsn).exit_code == 2


@pytest.mark.parametrize("processes", ["0", "x", "5..2", "2..", "1..65"])
def test_a_span_of_processes_that_is_none_is_a_usage_error(processes: str) -> None:
    assert "processes must" in refuse("worker", "cli_app:app", "--processes", processes, code=2)
