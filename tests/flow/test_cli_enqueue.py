"""`pgq enqueue`: one task from the shell."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
import pytest
from command_line import invoke, refuse, succeed
from factory import clock, insert, make_queue, make_task, task_row


@pytest.fixture(autouse=True)
def _queue(conn: psycopg.Connection) -> None:
    make_queue(conn, "jobs", timeout=30, max_attempts=4)
    insert(conn, "limits", {"name": "customer", "rate_max": 10, "rate_per": 60})
    insert(conn, "limits", {"name": "host", "concurrency": 2})


def test_it_prints_the_id_and_takes_the_defaults_of_the_queue(dsn: str, conn: psycopg.Connection) -> None:
    task_id = int(succeed("enqueue", "jobs", "note", '{"a": [1, 2.50]}', "--dsn", dsn))
    row = task_row(conn, task_id)
    assert (row.queue, row.task, row.payload, row.priority) == ("jobs", "note", {"a": [1, 2.5]}, 5)
    assert (row.timeout, row.max_attempts, row.unique_key, row.status) == (30, 4, None, "pending")


def test_every_option_reaches_the_row(dsn: str, conn: psycopg.Connection) -> None:
    options = ["--priority", 0, "--max-attempts", 9, "--timeout", "2m", "--unique-key", "k", "--delay", "1h"]
    row = task_row(conn, int(succeed("enqueue", "jobs", "note", *options, "--dsn", dsn)))
    assert (row.priority, row.max_attempts, row.timeout, row.unique_key) == (0, 9, 120, "k")
    assert 3590 < (row.scheduled_at - clock(conn)).total_seconds() <= 3600


def test_a_task_may_be_under_several_limits_with_a_weight(dsn: str, conn: psycopg.Connection) -> None:
    words = ["--limit-key", "customer:acme", "--weight", 3, "--limit-key", "host:a,b"]
    row = task_row(conn, int(succeed("enqueue", "jobs", "note", *words, "--dsn", dsn)))
    assert (row.limit_keys, row.weight) == (["customer:acme", "host:a,b"], 3)
    plain = task_row(conn, int(succeed("enqueue", "jobs", "note", "--dsn", dsn)))
    assert (plain.limit_keys, plain.weight) == (None, None)


def test_a_task_can_be_due_at_a_time(dsn: str, conn: psycopg.Connection) -> None:
    words = ["enqueue", "jobs", "note", "--at", "2199-01-31T09:00:00+02:00", "--unique-key", "k"]
    row = task_row(conn, int(succeed(*words, "--dsn", dsn)))
    assert row.scheduled_at == datetime(2199, 1, 31, 7, tzinfo=UTC)


def test_a_dash_reads_the_payload_from_standard_input(dsn: str, conn: psycopg.Connection) -> None:
    task_id = int(succeed("enqueue", "jobs", "note", "-", "--dsn", dsn, stdin='{"from": "stdin"}'))
    assert task_row(conn, task_id).payload == {"from": "stdin"}


def test_a_taken_key_is_refused_skipped_returned_or_replaced(dsn: str, conn: psycopg.Connection) -> None:
    holder = make_task(conn, unique_key="k")
    words = ["enqueue", "jobs", "note", '{"new": 1}', "--unique-key", "k", "--dsn", dsn]
    assert f"held by task {holder}" in refuse(*words)
    skipped = invoke(*words, "--on-conflict", "skip")
    assert (skipped.exit_code, skipped.stdout) == (0, "")
    assert skipped.stderr == "pgq: skipped: the unique key 'k' is taken\n"
    assert succeed(*words, "--on-conflict", "return_existing") == f"{holder}\n"
    assert task_row(conn, holder).payload == {}
    assert succeed(*words, "--on-conflict", "replace") == f"{holder}\n"
    assert task_row(conn, holder).payload == {"new": 1}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere", "note"], "unknown queue 'nowhere' (Declare it in code and run: pgq queues sync module:app)"),
        (["jobs", "note", "[1]"], "payload must be a JSON object, got array"),
        (["jobs", "note", "{nope"], "payload is no valid JSON"),
        (["jobs", "note", '{"x": NaN}'], "payload is no valid JSON"),
        (["jobs", "note", '{"x": "\\u0000"}'], "payload is no valid JSON"),
        (["jobs", "note", "--priority", "11"], "priority must be 0 to 10, got 11"),
        (["jobs", "note", "--max-attempts", "0"], "max_attempts must be 1 to"),
        (["jobs", "note", "--timeout", "0"], "timeout must be above 0"),
        (["jobs", "note", "--delay", "200000d"], "delay must be 0 seconds to a century"),
        (["jobs", "note", "--delay", "1", "--at", "2199-01-01T00:00Z"], "give delay or scheduled_at, not both"),
        (["jobs", "note", "--unique-key", ""], "unique_key must be 1 to 500 characters"),
        (["jobs", "note", "--limit-key", "acme"], "limit_key must look like 'kind:key', got 'acme'"),
        (
            ["jobs", "note", "--limit-key", "hots:a"],
            "limit key 'hots:a' is of no declared kind, there are: customer, host",
        ),
        (["jobs", "note", "--weight", "0"], "weight must be 1 to 2147483647, got 0"),
        (["jobs", "note", "--limit-key", "customer:a", "--weight", "11"], "weight must be at most 10"),
        (["jobs", ""], "task must be 1 to 200 characters"),
        (["jobs", "\udcff"], "valid UTF-8"),
    ],
)
def test_what_cannot_be_enqueued_is_one_sentence(
    dsn: str, conn: psycopg.Connection, words: list[str], sentence: str
) -> None:
    assert sentence in refuse("enqueue", *words, "--dsn", dsn)
    assert conn.execute("select count(*) from pgq.tasks").fetchone() == (0,)


@pytest.mark.parametrize(
    "words",
    [["--delay", "soon"], ["--at", "tomorrow"], ["--at", "2199-01-01"], ["--priority", "x"], ["--on-conflict", "x"]],
)
def test_a_value_of_the_wrong_kind_is_a_usage_error(dsn: str, words: list[str]) -> None:
    assert "Invalid value for" in refuse("enqueue", "jobs", "note", *words, "--dsn", dsn, code=2)
