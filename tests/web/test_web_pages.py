"""The pages, by plain HTTP: what they show, that nothing asked makes them fail, and what is hidden."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

import psycopg
import pytest
from factory import make_queue, make_task, make_tasks, make_worker
from visitor import Dashboard, Serve

PAGES = ["/", "/tasks", "/dead", "/workers", "/limits", "/health", "/audit", "/login", "/queues/jobs", "/tasks/1"]
HOSTILE = [
    "", " ", "0", "-1", "1e9", "9" * 40, "null", "NaN", "%", "%00", "%ff%fe", "'", "\\", "../../etc/passwd",
    "<script>alert(1)</script>", "' or 1=1 --", "; drop table pgq.tasks", "\u202e", "a" * 501, "1_2_3",
    "1_999999999999999999_0", "9223372036854775807", "9223372036854775808", "{{7*7}}", "%(queue)s", "$1",
]  # fmt: skip
PARAMETERS = ["queue", "status", "task", "error", "older", "newer", "after", "history", "next"]


def test_every_page_of_an_empty_installation_is_there(dashboard: Dashboard) -> None:
    statuses = {path: dashboard.get(path).status for path in PAGES}
    assert statuses == {**dict.fromkeys(PAGES, 200), "/queues/jobs": 404, "/tasks/1": 404}


@pytest.mark.parametrize(
    "path", ["/tasks", "/dead", "/audit", "/minutes", "/login", "/queues/{}", "/tasks/{}", "/static/{}", "/{}"]
)
def test_nothing_that_is_asked_makes_a_page_fail(dashboard: Dashboard, conn: psycopg.Connection, path: str) -> None:
    make_tasks(conn, 3)
    inside = dashboard.log_in()
    failed = []
    for value in HOSTILE:
        written = value if value.startswith("%") else quote(value, safe="")
        asked = [path.format(written)] if "{}" in path else [f"{path}?{name}={written}" for name in PARAMETERS]
        if path == "/tasks":
            asked += [f"/tasks?status={s}&after={written}" for s in ("pending", "processing", "dead", "completed")]
        if path == "/dead":
            asked += [f"/dead/{action}?error={written}" for action in ("replay", "purge", "x")]
        failed += [(one, answer) for one in asked if (answer := inside.get(one).status) >= 500]
    assert failed == []


def test_no_form_makes_an_action_fail(dashboard: Dashboard, conn: psycopg.Connection) -> None:
    make_task(conn, status="dead")
    inside = dashboard.log_in()
    actions = [
        "/dead/replay",
        "/dead/purge",
        "/queues/jobs/pause",
        "/tasks/1/retry",
        "/login",
        "/dead/x",
        "/tasks/x/cancel",
    ]
    failed = []
    for value in HOSTILE:
        for action in actions:
            fields = {
                "queue": value,
                "rate": value,
                "note": value,
                "total": value,
                "older": value,
                "token": value,
                "next": value,
            }
            if (status := inside.post(action, fields).status) >= 500:
                failed.append((action, value, status))
    assert failed == []


def test_what_is_called_like_markup_is_shown_as_text(dashboard: Dashboard, conn: psycopg.Connection) -> None:
    nasty = "<img src=x onerror=alert(1)>"
    number = make_task(
        conn, status="dead", task=nasty, last_error=nasty, traceback=nasty, payload=json.dumps({nasty: nasty})
    )
    for path in ("/tasks", "/dead", f"/tasks/{number}", f"/tasks?error={quote(nasty)}"):
        text = dashboard.get(path).text
        assert nasty not in text
        assert "&lt;img src=x onerror=alert(1)&gt;" in text


def test_a_list_goes_page_by_page_and_misses_nothing(dashboard: Dashboard, conn: psycopg.Connection) -> None:
    wanted = {
        status: make_tasks(conn, 60, status=status, priority=3) + make_tasks(conn, 60, status=status, queue="other")
        for status in ("pending", "processing", "dead", "completed")
    }
    for status, ids in wanted.items():
        found, next_page = [], f"/tasks?status={status}"
        while next_page:
            text = dashboard.get(next_page).text
            found += [int(one) for one in find(text, ROW)]
            next_page = next(iter(find(text, r'rel="next" href="([^"]+)"')), "").replace("&amp;", "&")
        assert len(found) == len(set(found))
        assert set(found) == set(ids), status


def test_a_list_is_filtered_by_everything(dashboard: Dashboard, conn: psycopg.Connection) -> None:
    make_tasks(conn, 5, status="dead", last_error="ValueError: no")
    number = make_task(conn, queue="mail", task="send", status="dead", last_error="SMTP 421: Try again")
    for query in ("queue=mail", "task=send", "error=try+AGAIN", "queue=mail&status=dead&task=send&error=421"):
        text = dashboard.get(f"/tasks?{query}").text
        assert find(text, ROW) == [str(number)], query


def test_a_task_shows_its_attempts_and_why_it_does_not_run(dashboard: Dashboard, conn: psycopg.Connection) -> None:
    worker = make_worker(conn, name="w-7")
    number = make_task(
        conn, due=3600, attempts=2, last_error="KeyError: 'b'", traceback="Traceback of b", worker_id=worker
    )
    conn.execute(
        "insert into pgq.attempts (task_id, queue, attempt, worker, error, traceback) values"
        " (%(id)s, 'jobs', 1, 'w-7', 'KeyError: a', 'Traceback of a'), (%(id)s, 'jobs', 2, 'w-7', 'KeyError: b', null)",
        {"id": number},
    )
    text = dashboard.get(f"/tasks/{number}").text
    for said in ("attempt 2 of 5 failed, the next is due at", "Attempt 1", "Attempt 2", "Traceback of a", "w-7"):
        assert said in text


@pytest.mark.parametrize(
    ("redact", "shown", "hidden"),
    [
        (None, ["ada@example.org", "inner"], ["sesame", "sk_live"]),
        ("none", ["ada@example.org", "sesame", "sk_live"], []),
        ("TO, inner", ["sesame"], ["ada@example.org", "sk_live"]),
        ("all", [], ["ada@example.org", "sesame", "sk_live", "inner"]),
    ],
)
def test_secrets_of_payloads_are_hidden(
    serve: Serve, conn: psycopg.Connection, redact: str | None, shown: list[str], hidden: list[str]
) -> None:
    payload = {"to": "ada@example.org", "password": "sesame", "inner": [{"API_Token": "sk_live"}]}
    number = make_task(conn, payload=json.dumps(payload))
    text = serve(*(["--redact", redact] if redact else [])).get(f"/tasks/{number}").text
    payload_shown = find(text, r"(?s)<pre[^>]*payload-title[^>]*>(.*?)</pre>")[0]
    assert [one for one in shown if one not in payload_shown] == []
    assert [one for one in hidden if one in text] == []


def test_a_payload_that_cannot_be_taken_apart_hides_all(dashboard: Dashboard, conn: psycopg.Connection) -> None:
    number = make_task(conn)
    payload = '{"password": "sesame", "n": ' + "9" * 5000 + "}"
    conn.execute("update pgq.tasks set payload = %s where id = %s", (payload, number))
    answer = dashboard.get(f"/tasks/{number}")
    assert answer.status == 200
    assert "sesame" not in answer.text


def test_a_queue_shows_its_settings(dashboard: Dashboard, conn: psycopg.Connection) -> None:
    make_queue(conn, "mail", concurrency=5, rate_max=100, rate_per=60, timeout=30)
    text = dashboard.get("/queues/mail").text
    for said in ("100 per 1 m", "30 s", "no limit"):
        assert (said in text) is (said != "no limit")


ROW = r'<td role="cell" class="n" data-label="Id"><a href="/tasks/(\d+)"'  # of a list of tasks


def find(text: str, pattern: str) -> list[str]:
    return re.findall(pattern, text)
