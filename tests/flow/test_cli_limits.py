"""`pgq limits …`: list, show, set."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from command_line import document, refuse, succeed
from factory import insert, make_queue
from pooler import OWN_SESSION

LATER = datetime(2099, 1, 31, 9, tzinfo=UTC)


def saw(conn: psycopg.Connection, name: str, **columns: Any) -> None:
    insert(conn, "limit_usage", {"name": name, "used": 0, "running": 0, **columns})


def stored(conn: psycopg.Connection) -> list[tuple[object, ...]]:
    return conn.execute("select name, rate_max, rate_per, concurrency from pgq.limits order by name").fetchall()


def test_no_limits_is_a_sentence(dsn: str, conn: psycopg.Connection) -> None:
    make_queue(conn, "free")
    assert succeed("limits", "list", "--dsn", dsn).startswith("There are no limits: ")
    assert document("limits", "list", "--dsn", dsn) == []


def test_queues_come_first_then_kinds_then_the_keys_that_deny_most(dsn: str, conn: psycopg.Connection) -> None:
    make_queue(conn, "b", concurrency=1)
    make_queue(conn, "a", rate_max=100, rate_per=60)
    for kind in ("host", "customer"):
        insert(conn, "limits", {"name": kind, "concurrency": 2})
    for key, denied in (("host:x", 3), ("customer:acme", 7), ("host:y", 0), ("customer:zoo", 3)):
        saw(conn, key, denied=denied)
    names = ["queue:a", "queue:b", "customer", "host", "customer:acme", "customer:zoo", "host:x", "host:y"]
    assert [row["name"] for row in document("limits", "list", "--dsn", dsn)] == names
    assert [row["name"] for row in document("limits", "list", "--limit", 2, "--dsn", dsn)] == names[:6]


def test_a_line_says_what_is_allowed_and_what_is_used(dsn: str, conn: psycopg.Connection) -> None:
    make_queue(conn, "mail", rate_max=100, rate_per=60, concurrency=5)
    saw(conn, "queue:mail", used=40, running=3, free_at=LATER)
    heading, line = succeed("limits", "list", "--dsn", dsn).splitlines()
    assert heading.split("  ")[0] == "LIMIT"
    assert line.split()[:6] == ["queue:mail", "100/1m", "5", "40", "3", "0"]
    assert LATER.date().isoformat() in line
    (row,) = document("limits", "list", "--dsn", dsn)
    assert (row["kind"], row["key"], row["used"], row["running"]) == ("queue", "mail", 40, 3)
    assert datetime.fromisoformat(row["throttled_until"]) == LATER


def test_without_a_command_it_lists(dsn: str, conn: psycopg.Connection) -> None:
    make_queue(conn, "mail", concurrency=5)
    assert succeed("limits", "--dsn", dsn) == succeed("limits", "list", "--dsn", dsn)
    assert document("limits", "--dsn", dsn) == document("limits", "list", "--dsn", dsn)


def test_options_before_the_command_are_meant_for_it(dsn: str, conn: psycopg.Connection) -> None:
    make_queue(conn, "mail", concurrency=5)
    shown = document("limits", "show", "queue:mail", "--dsn", dsn)
    assert document("limits", "--dsn", dsn, "show", "queue:mail") == shown
    assert succeed("limits", "--json", "show", "queue:mail", "--dsn", dsn).startswith("{")


def test_show_tells_about_a_queue_a_kind_or_a_key(dsn: str, conn: psycopg.Connection) -> None:
    make_queue(conn, "mail", rate_max=100, rate_per=60)
    insert(conn, "limits", {"name": "customer", "concurrency": 2})
    saw(conn, "customer:acme", running=1, denied=12)
    saw(conn, "customer:zoo", denied=90)
    for name, expected in (
        ("queue:mail", {"kind": "queue", "key": "mail", "rate_max": 100, "used": None, "denied": 0}),
        ("customer", {"kind": "customer", "key": None, "concurrency": 2, "running": None, "denied": None}),
        ("customer:acme", {"kind": "customer", "key": "acme", "concurrency": 2, "running": 1, "denied": 12}),
    ):
        shown = document("limits", "show", name, "--dsn", dsn)
        assert {key: shown[key] for key in expected} == expected
    facts = dict(
        line.split(maxsplit=1) for line in succeed("limits", "show", "customer:acme", "--dsn", dsn).splitlines()
    )
    assert (facts["name"], facts["denied"], facts["throttled_until"]) == ("customer:acme", "12", "-")


def test_an_unknown_limit_is_one_sentence(dsn: str) -> None:
    assert "no limit 'customer:acme'" in refuse("limits", "show", "customer:acme", "--dsn", dsn)


def test_set_makes_a_kind_and_changes_what_is_given(dsn: str, conn: psycopg.Connection) -> None:
    shown = document("limits", "set", "customer", "--rate", "10/s", "--concurrency", 2, "--dsn", dsn)
    assert (shown["name"], shown["rate_max"], shown["rate_per"], shown["concurrency"]) == ("customer", 10, 1, 2)
    assert stored(conn) == [("customer", 10, 1, 2)]
    succeed("limits", "set", "customer", "--rate", "500/5m", "--dsn", dsn)
    assert stored(conn) == [("customer", 500, 300, 2)]
    succeed("limits", "set", "customer", "--rate", "none", "--dsn", dsn)
    assert stored(conn) == [("customer", None, None, 2)]


@OWN_SESSION
def test_a_change_is_announced_to_workers(dsn: str, conn: psycopg.Connection) -> None:
    conn.execute("listen pgq")
    succeed("limits", "set", "customer", "--concurrency", 2, "--dsn", dsn)
    assert [note.payload for note in conn.notifies(timeout=5, stop_after=1)] == ["settings:"]


@pytest.mark.parametrize(
    ("kind", "words", "sentence"),
    [
        ("customer", ["--concurrency", "none"], "limit 'customer' needs a rate, a concurrency or both"),
        ("new", ["--rate", "none"], "limit 'new' needs a rate, a concurrency or both"),
        ("customer", ["--concurrency", "0"], "concurrency of limit 'customer' must be at least 1, got 0"),
        ("customer", ["--rate", "0/s"], "starts of a rate limit must be at least 1, got 0"),
        ("customer", ["--rate", "1/0s"], "rate limit window must be above 0 seconds, got 0"),
        ("a:b", ["--rate", "1/s"], "limit name must not contain a colon, got 'a:b'"),
        ("a b", ["--rate", "1/s"], "limit name must be 1 to 100 of letters"),
        ("queue", ["--rate", "1/s"], "limit 'queue' would stand for the limits of queues"),
    ],
)
def test_what_makes_no_limit_is_one_sentence_and_nothing_changes(
    dsn: str, conn: psycopg.Connection, kind: str, words: list[str], sentence: str
) -> None:
    insert(conn, "limits", {"name": "customer", "concurrency": 3})
    assert sentence in refuse("limits", "set", kind, *words, "--dsn", dsn)
    assert stored(conn) == [("customer", None, None, 3)]


def test_set_without_a_change_is_a_usage_error(dsn: str) -> None:
    assert "say what to change" in refuse("limits", "set", "customer", "--dsn", dsn, code=2)
