"""`pgq audit`: whatever commands change is recorded, with who did it."""

from __future__ import annotations

import psycopg
from command_line import document, succeed
from factory import make_queue, make_task

from pgq.audit import whoami


def done(dsn: str, *words: object) -> list[tuple[object, ...]]:
    return [(e["actor"], e["action"], e["queue"], e["filter"]) for e in document("audit", *words, "--dsn", dsn)]


def test_nothing_done_is_a_sentence(dsn: str) -> None:
    assert succeed("audit", "--dsn", dsn) == "Nobody did anything like that.\n"
    assert document("audit", "--dsn", dsn) == []


def test_commands_that_steer_are_recorded_the_latest_first(dsn: str, conn: psycopg.Connection) -> None:
    make_queue(conn)
    waiting, dead = make_task(conn), make_task(conn, status="dead")
    succeed("queues", "pause", "jobs", "--dsn", dsn)
    succeed("queues", "resume", "jobs", "--dsn", dsn)
    succeed("tasks", "cancel", waiting, "--dsn", dsn)
    succeed("tasks", "retry", dead, "--dsn", dsn)
    me = whoami()
    assert done(dsn) == [
        (me, "retry", "jobs", {"ids": [dead]}),
        (me, "cancel", "jobs", {"ids": [waiting]}),
        (me, "resume", "jobs", None),
        (me, "pause", "jobs", None),
    ]


def test_changed_settings_are_recorded_with_what_they_were(dsn: str, conn: psycopg.Connection) -> None:
    make_queue(conn, timeout=30)
    succeed("queues", "set", "jobs", "--timeout", "60s", "--max-attempts", 5, "--dsn", dsn)
    succeed("queues", "set", "jobs", "--timeout", "60s", "--dsn", dsn)  # changes nothing
    succeed("limits", "set", "customer", "--concurrency", 2, "--dsn", dsn)
    assert [entry[1:] for entry in done(dsn)] == [
        ("limits set", None, {"limit": "customer", "concurrency": [None, 2]}),
        ("queues set", "jobs", {"timeout": [30, 60]}),
    ]
    text = succeed("audit", "--dsn", dsn)
    assert "limit customer; concurrency - -> 2" in text
    assert "timeout 30" in text


def test_conditions_narrow_the_list(dsn: str, conn: psycopg.Connection) -> None:
    for actor, action, queue, days in (
        ("ada@desk", "pause", "a", 0), ("bob@desk", "pause", "a", 0), ("ada@desk", "resume", "a", 0),
        ("ada@desk", "pause", "b", 0), ("ada@desk", "pause", "a", 9),
    ):  # fmt: skip
        conn.execute(
            "insert into pgq.audit (actor, action, queue, at) values (%s, %s, %s, now() - %s * interval '1 day')",
            (actor, action, queue, days),
        )
    words = ["--queue", "a", "--action", "pause", "--actor", "ADA", "--newer", "1d"]
    assert len(document("audit", *words, "--dsn", dsn)) == 1
    ids = [entry["id"] for entry in document("audit", "--dsn", dsn)]
    assert [entry["id"] for entry in document("audit", "--before", ids[1], "--limit", 2, "--dsn", dsn)] == ids[2:4]
