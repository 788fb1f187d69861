"""`pgq migrate`: installs, says what it did, and says what is missing."""

from __future__ import annotations

import psycopg
from command_line import invoke, refuse, succeed

from pgq import migrate


def test_migrate_installs_the_schema_and_says_what_it_applied(empty_dsn: str) -> None:
    assert succeed("migrate", "--dsn", empty_dsn) == "applied 0001_tables, functions and views\n"
    with psycopg.connect(empty_dsn) as conn:
        assert migrate.pending(conn) == []


def test_migrating_twice_changes_nothing(dsn: str) -> None:
    assert succeed("migrate", "--dsn", dsn) == f"up to date at version {migrate.version()}\n"


def test_check_changes_nothing_and_names_what_is_missing(empty_dsn: str) -> None:
    complaint = refuse("migrate", "--check", "--dsn", empty_dsn)
    assert complaint == "pgq: the schema is behind, it lacks 0001_tables, functions and views: run `pgq migrate`\n"
    with psycopg.connect(empty_dsn) as conn:
        assert conn.execute("select to_regnamespace('pgq')").fetchone() == (None,)


def test_check_succeeds_where_nothing_is_missing(dsn: str) -> None:
    assert succeed("migrate", "--check", "--dsn", dsn).startswith("up to date")


def test_check_names_functions_of_another_version(dsn: str, conn: psycopg.Connection) -> None:
    conn.execute("update pgq.migrations set checksum = 'another' where version = 0")
    assert "it lacks functions and views" in refuse("migrate", "--check", "--dsn", dsn)


def test_functions_of_a_newer_release_that_serves_this_one_too_are_left_alone(
    dsn: str, conn: psycopg.Connection
) -> None:
    conn.execute("update pgq.migrations set checksum = 'newer' where version = 0")
    conn.execute(
        "insert into pgq.migrations (version, name, requires, checksum) values (%s, 'next', %s, '')",
        (migrate.version() + 1, migrate.REQUIRES),
    )
    assert succeed("migrate", "--check", "--dsn", dsn).startswith("up to date")
    assert succeed("migrate", "--dsn", dsn).startswith("up to date")
    assert conn.execute("select checksum from pgq.migrations where version = 0").fetchone() == ("newer",)


def test_the_script_installs_the_schema_without_pgq(empty_dsn: str) -> None:
    script = succeed("migrate", "--sql")
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute(script.encode())
    assert succeed("migrate", "--check", "--dsn", empty_dsn).startswith("up to date")


def test_a_schema_of_somebody_else_is_refused(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as conn:
        conn.execute("create schema pgq create table pgq.theirs ()")
    assert "exists and is not ours" in refuse("migrate", "--dsn", empty_dsn)


def test_printing_and_checking_at_once_is_a_usage_error() -> None:
    assert invoke("migrate", "--sql", "--check").exit_code == 2


def test_a_command_before_migrate_says_to_run_it(empty_dsn: str) -> None:
    for words in (["stats"], ["tasks", "list"], ["enqueue", "jobs", "note"], ["queues", "pause", "jobs"]):
        assert refuse(*words, "--dsn", empty_dsn).endswith("run `pgq migrate`\n")


def test_every_command_refuses_a_schema_that_is_newer(dsn: str, conn: psycopg.Connection) -> None:
    conn.execute("insert into pgq.migrations (version, name, requires, checksum) values (99, 'next', 99, '')")
    for words in (
        ["stats"],
        ["sql", "select 1"],
        ["workers"],
        ["audit"],
        ["alerts", "list"],
        ["enqueue", "jobs", "note"],
        ["queues", "sync", "cli_app:app"],
        ["tasks", "list"],
        ["dead", "list"],
        ["limits", "list"],
        ["migrate"],
        ["worker", "cli_app:app"],
    ):
        said = f"the schema is newer: it needs version 99 of the code, this is {migrate.version()}: upgrade pgq-tasks"
        assert refuse(*words, "--dsn", dsn) == f"pgq: {said}\n"
