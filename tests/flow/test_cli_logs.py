"""`pgq worker --log-format json`: every line an object, about its task, without payloads and passwords."""

from __future__ import annotations

import json

import cli_app
import psycopg
import pytest
from command_line import finish, start


@pytest.mark.parametrize("how", ["option", "variable"])
def test_a_worker_and_its_children_log_json_without_payloads_and_passwords(
    dsn: str, conn: psycopg.Connection, how: str
) -> None:
    cli_app.app.declare(conn)
    failing = cli_app.log_and_fail.enqueue(conn, words="canary-payload")
    inside = cli_app.log_in_a_child.enqueue(conn, words="canary-payload")
    secret = f"{dsn} password=canary-password"
    words = ["--log-format", "json"] if how == "option" else []
    env = {"PGQ_LOG_FORMAT": "json"} if how == "variable" else {}
    process = start("worker", "cli_app:app", "--burst", "--log-level", "debug", *words, "--dsn", secret, env=env)
    code, stdout, log = finish(process)
    assert (code, stdout) == (0, "")
    assert "canary" not in log
    events = [json.loads(line) for line in log.splitlines()]
    assert all({"ts", "level", "logger", "message", "worker"} <= event.keys() for event in events)
    about = {"task_id": failing, "task": "log_and_fail", "queue": "jobs", "attempt": 1}
    (half,) = [event for event in events if event["message"] == "half way"]
    assert about.items() <= half.items()
    (failed,) = [event for event in events if "RuntimeError: no luck" in event["message"]]
    assert about.items() <= failed.items()
    assert failed["worker"].endswith(f":{process.pid}")
    (child,) = [event for event in events if event["logger"] == "shop" and event["message"] == "in the child\nstill"]
    assert child["task_id"] == inside


def test_several_processes_log_json_too(dsn: str, conn: psycopg.Connection) -> None:
    cli_app.app.declare(conn)
    failing = cli_app.log_and_fail.enqueue(conn, words="x")
    words = ["--processes", 2, "--log-format", "json", "--dsn", dsn]
    process = start("worker", "cli_app:app", *words)
    assert process.stderr is not None
    seen = []
    while not any(event.get("task_id") == failing for event in seen):
        seen.append(json.loads(process.stderr.readline()))
    process.terminate()
    _, _, log = finish(process)
    seen += [json.loads(line) for line in log.splitlines()]
    assert any("started as" in event["message"] for event in seen)
    assert len({event["worker"] for event in seen}) >= 2
