"""`pgq dead …`: what is out of attempts, and how it starts over."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest
from command_line import document, invoke, refuse, statuses, succeed
from factory import clock, make_task, task_row


def bury(conn: psycopg.Connection, *, ago: float = 0.0, error: str = "boom", **columns: object) -> int:
    """Make a dead letter that died `ago` seconds ago."""
    died = clock(conn) - timedelta(seconds=ago)
    return make_task(conn, status="dead", attempts=3, max_attempts=3, completed_at=died, last_error=error, **columns)


def test_no_dead_letters_is_a_sentence(dsn: str, conn: psycopg.Connection) -> None:
    make_task(conn, status="failed")
    assert succeed("dead", "list", "--dsn", dsn) == "There are no dead letters.\n"
    assert succeed("dead", "list", "--error", "x", "--dsn", dsn) == "No dead letter is like that.\n"
    assert document("dead", "list", "--dsn", dsn) == []


def test_dead_letters_are_listed_the_latest_first(dsn: str, conn: psycopg.Connection) -> None:
    late, old, middle = bury(conn, ago=10), bury(conn, ago=30), bury(conn, ago=20)
    assert [row["id"] for row in document("dead", "list", "--dsn", dsn)] == [late, middle, old]
    lines = succeed("dead", "list", "--limit", 1, "--dsn", dsn).splitlines()
    assert lines[1].split()[:4] == [str(late), "jobs", "work", "3/3"]
    assert len(lines) == 2


def test_conditions_narrow_the_list(dsn: str, conn: psycopg.Connection) -> None:
    wanted = bury(conn, queue="web", task="deliver", error="HTTP 503: 100%_sure")
    bury(conn, queue="mail", task="deliver", error="HTTP 503: 100%_sure")
    bury(conn, queue="web", task="other", error="HTTP 503: 100%_sure")
    bury(conn, queue="web", task="deliver", error="HTTP 503: 100 sure")
    bury(conn, queue="web", task="deliver", error=None)
    words = ["--queue", "web", "--task", "deliver", "--error", "http 503: 100%_"]
    assert [row["id"] for row in document("dead", "list", *words, "--dsn", dsn)] == [wanted]


def test_show_tells_about_dead_letters_only(dsn: str, conn: psycopg.Connection) -> None:
    dead, done = bury(conn, traceback="Traceback: here"), make_task(conn, status="completed")
    assert succeed("dead", "show", dead, "--dsn", dsn).endswith("traceback\nTraceback: here\n")
    assert document("dead", "show", dead, "--dsn", dsn)["id"] == dead
    assert f"task {done} is not dead, it is completed" in refuse("dead", "show", done, "--dsn", dsn)


def test_replay_starts_the_given_ones_over(dsn: str, conn: psycopg.Connection) -> None:
    chosen, other = bury(conn), bury(conn)
    assert succeed("dead", "replay", chosen, "--dsn", dsn) == "Replayed 1 dead letter.\n"
    assert (task_row(conn, chosen).status, task_row(conn, chosen).attempts) == ("pending", 0)
    assert task_row(conn, other).status == "dead"


def test_replay_starts_over_what_fits(dsn: str, conn: psycopg.Connection) -> None:
    chosen, other = [bury(conn, queue="web", error="HTTP 503") for _ in range(3)], bury(conn, error="HTTP 404")
    words = ["dead", "replay", "--queue", "web", "--error", "503"]
    assert succeed(*words, "--dsn", dsn) == "Replayed 3 dead letters.\n"
    assert statuses(conn, *chosen) == ["pending"] * 3
    assert task_row(conn, other).status == "dead"
    assert succeed(*words, "--dsn", dsn) == "Nothing to replay.\n"


def test_replay_of_all_keeps_the_order_in_which_they_died(dsn: str, conn: psycopg.Connection) -> None:
    late, early = bury(conn, ago=1), bury(conn, ago=100)
    assert succeed("dead", "replay", "--all", "--dsn", dsn) == "Replayed 2 dead letters.\n"
    assert task_row(conn, early).scheduled_at < task_row(conn, late).scheduled_at


def test_a_dry_run_only_lists(dsn: str, conn: psycopg.Connection) -> None:
    dead = bury(conn)
    text = succeed("dead", "replay", "--all", "--dry-run", "--dsn", dsn)
    assert text.splitlines()[1].split()[0] == str(dead)
    assert text.endswith("1 dead letter would be replayed.\n")
    assert [row["id"] for row in document("dead", "replay", dead, "--dry-run", "--dsn", dsn)] == [dead]
    assert succeed("dead", "replay", "--task", "x", "--dry-run", "--dsn", dsn) == "Nothing would be replayed.\n"
    assert task_row(conn, dead).status == "dead"


def test_what_is_not_dead_is_not_replayed(dsn: str, conn: psycopg.Connection) -> None:
    dead, done = bury(conn), make_task(conn, status="completed")
    result = invoke("dead", "replay", dead, done, "--dsn", dsn)
    assert (result.exit_code, result.stdout) == (1, "Replayed 1 dead letter.\n")
    assert result.stderr == f"pgq: not dead, so not replayed: {done} (see `pgq tasks retry`)\n"
    assert statuses(conn, dead, done) == ["pending", "completed"]


def test_one_that_cannot_run_again_stops_no_other(dsn: str, conn: psycopg.Connection) -> None:
    taken, free = bury(conn, ago=10, unique_key="k"), bury(conn)
    make_task(conn, unique_key="k")
    result = invoke("dead", "replay", "--all", "--dsn", dsn)
    assert (result.exit_code, result.stdout) == (1, "Replayed 1 dead letter.\n")
    assert f"task {taken}: unique_key 'k'" in result.stderr
    assert result.stderr.endswith("1 dead letter could not be replayed\n")
    assert statuses(conn, taken, free) == ["dead", "pending"]


@pytest.mark.parametrize(
    "words", [[], [1, "--all"], ["--queue", "x", "--all"], [1, "--error", "x"], ["--all", "--json"]]
)
def test_what_to_replay_must_be_said_in_one_way(dsn: str, words: list[object]) -> None:
    refuse("dead", "replay", *words, "--dsn", dsn, code=2)
