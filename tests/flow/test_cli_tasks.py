"""`pgq tasks …`: list, show, explain, cancel, retry."""

from __future__ import annotations

import json
from datetime import datetime

import psycopg
import pytest
from command_line import document, invoke, refuse, statuses, succeed
from factory import ENDED, clock, insert, key_holder, make_task, make_tasks, make_worker, task_row


def ids(rows: list[dict[str, object]]) -> list[object]:
    return [row["id"] for row in rows]


def test_no_tasks_is_a_sentence(dsn: str) -> None:
    assert succeed("tasks", "list", "--dsn", dsn) == "There are no tasks.\n"
    assert succeed("tasks", "list", "--queue", "x", "--dsn", dsn) == "No task is like that.\n"
    assert document("tasks", "list", "--dsn", dsn) == []


def test_tasks_are_listed_newest_first_and_no_more_than_asked_for(dsn: str, conn: psycopg.Connection) -> None:
    made = make_tasks(conn, 5)
    assert ids(document("tasks", "list", "--limit", 3, "--dsn", dsn)) == made[:1:-1]
    lines = succeed("tasks", "list", "--limit", 2, "--dsn", dsn).splitlines()
    assert lines[0].split()[:4] == ["ID", "QUEUE", "TASK", "STATUS"]
    assert [line.split()[0] for line in lines[1:]] == [str(made[4]), str(made[3])]


def test_conditions_narrow_the_list_together(dsn: str, conn: psycopg.Connection) -> None:
    wanted = make_task(conn, queue="a", task="x", status="completed")
    make_task(conn, queue="b", task="x", status="completed")
    make_task(conn, queue="a", task="y", status="completed")
    make_task(conn, queue="a", task="x")
    found = document("tasks", "list", "--queue", "a", "--task", "x", "--status", "completed", "--dsn", dsn)
    assert ids(found) == [wanted]


@pytest.mark.parametrize("status", sorted(ENDED | {"pending", "processing"}))
def test_each_status_can_be_asked_for(dsn: str, conn: psycopg.Connection, status: str) -> None:
    for other in ENDED | {"pending", "processing"}:
        make_task(conn, status=other)
    found = document("tasks", "list", "--status", status, "--dsn", dsn)
    assert [row["status"] for row in found] == [status]


def test_a_document_holds_every_column_with_times_as_iso_8601(dsn: str, conn: psycopg.Connection) -> None:
    task_id = make_task(conn, payload='{"to": "ada", "n": [1, null]}', status="dead", last_error="no way")
    (row,) = document("tasks", "list", "--dsn", dsn)
    assert row["payload"] == {"to": "ada", "n": [1, None]}
    assert (row["last_error"], row["started_at"] is None) == ("no way", False)
    assert datetime.fromisoformat(row["scheduled_at"]) == task_row(conn, task_id).scheduled_at


def test_an_unknown_status_is_a_usage_error(dsn: str) -> None:
    assert "'done' is not one of" in refuse("tasks", "list", "--status", "done", "--dsn", dsn, code=2)


def test_show_tells_everything_about_one_task(dsn: str, conn: psycopg.Connection) -> None:
    worker = make_worker(conn, name="host:17")
    task_id = make_task(
        conn, status="processing", worker_id=worker, unique_key="k", payload='{"größe": 1}',
        last_error="boom\x1b[31m", traceback="Traceback:\n  line 1",
    )  # fmt: skip
    text = succeed("tasks", "show", task_id, "--dsn", dsn)
    facts = dict(line.split(maxsplit=1) for line in text.partition("payload")[0].splitlines())
    assert facts["status"] == "processing"
    assert facts["worker"] == "host:17"
    assert facts["unique_key"] == "k"
    assert facts["last_error"] == "boom [31m"
    assert '"größe": 1' in text
    assert text.endswith("traceback\nTraceback:\n  line 1\n")
    assert document("tasks", "show", task_id, "--dsn", dsn)["worker"] == "host:17"


@pytest.mark.parametrize(
    "words", [["show", 999], ["show", 999, "--json"], ["explain", 999], ["cancel", 999], ["retry", 999]]
)
def test_an_unknown_task_is_one_sentence(dsn: str, words: list[object]) -> None:
    assert refuse("tasks", *words, "--dsn", dsn) == "pgq: no task 999\n"


def test_explain_says_in_one_line_why_a_task_does_not_run(dsn: str, conn: psycopg.Connection) -> None:
    waits = make_task(conn)
    failed = make_task(conn, status="dead", last_error="boom\x1b[31m")
    sentence = "due, but no worker serves queue jobs"
    assert succeed("tasks", "explain", waits, "--dsn", dsn) == f"{sentence}\n"
    assert document("tasks", "explain", waits, "--dsn", dsn) == {"id": waits, "explanation": sentence}
    assert succeed("tasks", "explain", failed, "--dsn", dsn).endswith(", in attempt 1 of 5: boom [31m\n")


@pytest.mark.parametrize("number", ["x", "0", "-1", "9223372036854775808"])
def test_what_is_no_id_is_a_usage_error(dsn: str, number: str) -> None:
    assert invoke("tasks", "show", "--dsn", dsn, "--", number).exit_code == 2


def test_cancel_says_of_each_task_what_happened(dsn: str, conn: psycopg.Connection) -> None:
    waits, runs, over = make_task(conn), make_task(conn, status="processing"), make_task(conn, status="completed")
    assert succeed("tasks", "cancel", waits, runs, over, "--dsn", dsn).splitlines() == [
        f"{waits} cancelled",
        f"{runs} asked to stop: it is running",
        f"{over} not cancelled: it is completed already",
    ]
    assert statuses(conn, waits, runs, over) == ["cancelled", "processing", "completed"]
    assert task_row(conn, runs).cancel_requested


def test_retry_says_of_each_task_what_happened(dsn: str, conn: psycopg.Connection) -> None:
    dead, runs, later = make_task(conn, status="dead"), make_task(conn, status="processing"), make_task(conn, due=60)
    assert succeed("tasks", "retry", dead, runs, later, "--dsn", dsn).splitlines() == [
        f"{dead} will run again",
        f"{runs} left alone: it is running",
        f"{later} will run again",
    ]
    assert (task_row(conn, dead).status, task_row(conn, dead).attempts) == ("pending", 0)
    assert task_row(conn, later).scheduled_at <= clock(conn)


def test_one_task_that_is_refused_stops_no_other(dsn: str, conn: psycopg.Connection) -> None:
    first, last = make_task(conn, status="failed"), make_task(conn, status="failed")
    taken = make_task(conn, status="failed", unique_key="k")
    holder = make_task(conn, unique_key="k")
    result = invoke("tasks", "retry", first, 999, taken, last, "--dsn", dsn)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [f"{first} will run again", f"{last} will run again"]
    assert result.stderr.splitlines() == [
        "pgq: no task 999",
        f"pgq: task {taken}: unique_key 'k' of queue 'jobs' is held by task {holder}",
    ]
    assert task_row(conn, taken).status == "failed"
    assert key_holder(conn, "k") != taken


def test_show_lists_the_failed_attempts(dsn: str, conn: psycopg.Connection) -> None:
    task_id = make_task(conn, status="dead", attempts=2, max_attempts=2)
    for attempt, error in ((1, "HTTP 503"), (2, "HTTP 504")):
        insert(
            conn, "attempts",
            {"task_id": task_id, "queue": "jobs", "attempt": attempt, "worker": "desk:17", "error": error},
        )  # fmt: skip
    text = succeed("tasks", "show", task_id, "--dsn", dsn)
    lines = text.partition("failed attempts\n")[2].splitlines()
    assert lines[0].split() == ["TRY", "WORKER", "STARTED", "FAILED", "ERROR"]
    assert [(line.split()[:2], line[-8:]) for line in lines[1:3]] == [
        (["1", "desk:17"], "HTTP 503"), (["2", "desk:17"], "HTTP 504"),
    ]  # fmt: skip
    for group in ("tasks", "dead"):
        history = document(group, "show", task_id, "--dsn", dsn)["history"]
        assert [(attempt["attempt"], attempt["error"]) for attempt in history] == [(1, "HTTP 503"), (2, "HTTP 504")]


def test_a_list_that_does_not_look_at_everything_says_where_it_ended(
    dsn: str, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgq.cli.tasks.LOOK", 4)
    old = make_task(conn, status="completed", last_error="HTTP 503")
    dead = make_task(conn, status="dead", last_error="HTTP 503")
    newer = make_tasks(conn, 4)
    result = invoke("tasks", "list", "--error", "503", "--dsn", dsn)
    assert (result.exit_code, result.stdout) == (0, "No task is like that.\n")
    assert result.stderr == f"pgq: only the newest 4 tasks were looked at; for older ones: --before {newer[0]}\n"
    result = invoke("tasks", "list", "--error", "503", "--before", newer[0], "--json", "--dsn", dsn)
    assert ids(json.loads(result.stdout)) == [dead, old]
    assert result.stderr == ""
    result = invoke("tasks", "list", "--error", "503", "--status", "dead", "--json", "--dsn", dsn)
    assert (ids(json.loads(result.stdout)), result.stderr) == ([dead], "")
    assert invoke("tasks", "list", "--limit", 4, "--dsn", dsn).stderr == ""


def test_a_list_that_takes_too_long_is_stopped_with_a_sentence(
    dsn: str, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_task(conn)
    monkeypatch.setattr("pgq.cli.tasks.PATIENCE", 0.2)
    with psycopg.connect(dsn) as other:
        other.execute("lock table pgq.tasks in access exclusive mode")
        said = refuse("tasks", "list", "--error", "503", "--dsn", dsn)
    assert said == "pgq: that takes longer than 0.2 s: narrow it by --queue, --status or --newer\n"
