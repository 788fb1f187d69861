"""`pgq dead …`: what is out of attempts, and how it starts over."""

from __future__ import annotations

import itertools
from datetime import timedelta

import psycopg
import pytest
from command_line import document, invoke, refuse, statuses, succeed
from factory import clock, key_holder, make_task, task_row

from pgq import letters
from pgq.audit import whoami
from pgq.errors import ConfigError


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
    preview = document("dead", "replay", dead, "--dry-run", "--dsn", dsn)
    assert (preview["count"], preview["queues"], preview["sample"][0]["id"]) == (1, {"jobs": 1}, dead)
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
    assert result.stderr.endswith("1 dead letter could not be replayed, and stayed dead\n")
    assert statuses(conn, taken, free) == ["dead", "pending"]


@pytest.mark.parametrize("words", [[], [1, "--all"], ["--queue", "x", "--all"], ["--note", "x"], ["--rate", "5/s"]])
def test_what_to_replay_must_be_said_in_one_way(dsn: str, words: list[object]) -> None:
    refuse("dead", "replay", *words, "--dsn", dsn, code=2)


@pytest.mark.parametrize("verb", ["replay", "purge"])
def test_a_look_need_not_say_which(dsn: str, conn: psycopg.Connection, verb: str) -> None:
    dead = bury(conn)
    assert "1 dead letter would be" in succeed("dead", verb, "--dry-run", "--dsn", dsn)
    assert statuses(conn, dead) == ["dead"]


def test_ages_and_ids_narrow_too(dsn: str, conn: psycopg.Connection) -> None:
    old, middle, young = (bury(conn, ago=ago) for ago in (10_000, 1_000, 10))
    found = document("dead", "list", "--older", "1m", "--newer", "1h", "--dsn", dsn)
    assert [row["id"] for row in found] == [middle]
    assert [row["id"] for row in document("dead", "list", "--id", old, "--id", young, "--dsn", dsn)] == [young, old]
    assert succeed("dead", "replay", "--older", "1h", "--dsn", dsn) == "Replayed 1 dead letter.\n"
    assert statuses(conn, old, middle, young) == ["pending", "dead", "dead"]


def test_a_paced_replay_writes_the_pace_into_the_due_times(dsn: str, conn: psycopg.Connection) -> None:
    ids = [bury(conn, ago=100 - place) for place in range(11)]
    said = succeed("dead", "replay", "--all", "--rate", "6/m", "--dsn", dsn)
    assert said == "Replayed 11 dead letters; the last is due 100s after the first.\n"
    due = [task_row(conn, task_id).scheduled_at for task_id in ids]
    gaps = [(after - before).total_seconds() for before, after in itertools.pairwise(due)]
    assert gaps[1:] == pytest.approx([10] * 9, abs=1e-3)  # the first is due now, not when the command began
    assert 0 < gaps[0] <= 10


def test_a_replay_goes_on_over_many_batches_at_one_pace(
    dsn: str, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letters, "BATCH", 3)
    ids = [bury(conn, ago=100 - place) for place in range(8)]
    progress = [step.changed for step in letters.replay(conn, letters.Which(queue="jobs"), rate=1, actor="ada")]
    assert progress == [3, 6, 8]
    due = [task_row(conn, task_id).scheduled_at for task_id in ids]
    assert [(due[k + 1] - due[k]).total_seconds() for k in range(1, 7)] == pytest.approx([1] * 6)
    assert [(e["actor"], e["action"], e["queue"], e["count"]) for e in document("audit", "--dsn", dsn)] == [
        ("ada", "replay", "jobs", 8)
    ]


def test_whoever_stops_a_replay_has_done_what_the_audit_says(
    dsn: str, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letters, "BATCH", 2)
    ids = [bury(conn, ago=100 - place) for place in range(6)]
    batches = letters.replay(conn, letters.Which(), actor="ada")
    next(batches), next(batches)
    batches.close()
    assert statuses(conn, *ids) == ["pending"] * 4 + ["dead"] * 2
    assert document("audit", "--dsn", dsn)[0]["count"] == 4
    assert letters.count(conn, letters.Which()) == {"jobs": 2}


def test_two_of_one_unique_key_the_first_that_died_gets_it(dsn: str, conn: psycopg.Connection) -> None:
    late, early = bury(conn, ago=1, unique_key="k"), bury(conn, ago=100, unique_key="k")
    result = invoke("dead", "replay", "--all", "--dsn", dsn)
    assert (result.exit_code, result.stdout) == (1, "Replayed 1 dead letter.\n")
    assert f"task {late}: unique_key 'k' of queue 'jobs' is held by task {early}" in result.stderr
    assert key_holder(conn, "k") == early


def test_a_replay_is_recorded_with_what_was_chosen_and_why(dsn: str, conn: psycopg.Connection) -> None:
    bury(conn, queue="web", error="HTTP 503")
    succeed("dead", "replay", "--queue", "web", "--error", "503", "--note", "back", "--dry-run", "--dsn", dsn)
    assert document("audit", "--dsn", dsn) == []
    words = ["--queue", "web", "--error", "503", "--note", "their server is back"]
    answer = document("dead", "replay", *words, "--dsn", dsn)
    assert answer == {"changed": 1, "refused": [], "left_alone": 0}
    succeed("dead", "replay", *words, "--dsn", dsn)  # changes nothing
    (entry,) = document("audit", "--dsn", dsn)
    assert (entry["action"], entry["queue"], entry["count"], entry["note"]) == ("replay", "web", 1, words[-1])
    assert entry["filter"] == {"queue": "web", "error": "503"}
    assert entry["actor"] == whoami()


def test_a_purge_deletes_for_good_and_is_recorded(dsn: str, conn: psycopg.Connection) -> None:
    gone, kept = bury(conn, queue="web", ago=100), bury(conn, queue="web")
    words = ["dead", "purge", "--queue", "web", "--older", "50s"]
    text = succeed(*words, "--dry-run", "--dsn", dsn)
    assert text.endswith("1 dead letter would be deleted.\n")
    assert succeed(*words, "--yes", "--dsn", dsn) == "Deleted 1 dead letter.\n"
    assert (task_row(conn, gone), task_row(conn, kept).status) == (None, "dead")
    (entry,) = document("audit", "--dsn", dsn)
    assert (entry["action"], entry["count"], entry["filter"]) == ("purge", 1, {"queue": "web", "older": 50.0})


def test_a_purge_that_nobody_can_be_asked_about_deletes_nothing(dsn: str, conn: psycopg.Connection) -> None:
    dead = bury(conn)
    assert "give --yes" in refuse("dead", "purge", dead, "--dsn", dsn)
    assert task_row(conn, dead).status == "dead"


def test_a_purge_asks_for_a_yes(dsn: str, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = bury(conn)
    monkeypatch.setattr("pgq.cli.letters._somebody_is_there", lambda: True)
    assert invoke("dead", "purge", dead, "--dsn", dsn, stdin="n\n").exit_code == 1
    assert task_row(conn, dead).status == "dead"
    assert invoke("dead", "purge", dead, "--dsn", dsn, stdin="y\n").stdout == "Deleted 1 dead letter.\n"
    assert task_row(conn, dead) is None


def test_a_connection_in_a_transaction_is_refused(dsn: str) -> None:
    with psycopg.connect(dsn) as conn, pytest.raises(ConfigError, match="autocommit"):
        next(letters.replay(conn, letters.Which()))
