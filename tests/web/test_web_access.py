"""Who gets in, and who may act: token, session, form, origin, the name under which it is reached, the headers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from factory import QUEUE, make_queue, make_task, task_row
from visitor import TOKEN, Dashboard, Serve

ACTIONS = [
    "/queues/jobs/pause",
    "/queues/jobs/resume",
    "/tasks/{id}/cancel",
    "/tasks/{id}/retry",
    "/dead/replay",
    "/dead/purge",
    "/logout",
]
EVERYWHERE = "0.0.0.0"  # noqa: S104 - that it is refused, or locked, is the test
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def dead(conn: psycopg.Connection) -> int:
    """Return a dead letter, which every action would change."""
    return make_task(conn, status="dead")


def untouched(conn: psycopg.Connection, number: int) -> bool:
    (paused,) = conn.execute("select paused_at from pgq.queues where name = %s", (QUEUE,)).fetchone()
    recorded = conn.execute("select count(*) from pgq.audit").fetchone()
    return task_row(conn, number).status == "dead" and paused is None and recorded == (0,)


@pytest.mark.parametrize("action", ACTIONS)
def test_a_stranger_changes_nothing(dashboard: Dashboard, conn: psycopg.Connection, dead: int, action: str) -> None:
    path = action.format(id=dead)
    assert dashboard.post(path).status == 401
    assert dashboard.post(path, Authorization="Bearer wrong").status == 401
    assert dashboard.post(path, Cookie=f"pgq_{dashboard.port}=guessed").status == 401
    assert untouched(conn, dead)


@pytest.mark.parametrize("action", ACTIONS)
def test_a_page_elsewhere_changes_nothing(
    dashboard: Dashboard, conn: psycopg.Connection, dead: int, action: str
) -> None:
    inside, path = dashboard.log_in(), action.format(id=dead)
    assert inside.post(path, Origin="https://evil.example").status == 403
    assert inside.post(path, Origin="null").status == 403
    assert inside.post(path, Origin="").status == 403
    assert inside.post(path, {"form_token": "guessed"}).status == 403
    assert inside.post(path, {"form_token": ""}).status == 403
    assert inside.get(path).status in {200, 404, 405}
    assert untouched(conn, dead)


def test_the_form_of_another_session_is_none(dashboard: Dashboard, conn: psycopg.Connection, dead: int) -> None:
    one, other = dashboard.log_in(), dashboard.log_in()
    assert one.post(f"/tasks/{dead}/retry", {"form_token": other.form_token}).status == 403
    assert untouched(conn, dead)


def test_a_wrong_token_opens_nothing(dashboard: Dashboard) -> None:
    for token in ("", "wrong", TOKEN[:-1], TOKEN + "x", "\u2603" * 30):
        answer = dashboard.post("/login", {"token": token})
        assert answer.status == 403
        assert "set-cookie" not in answer.headers
        assert "That is not the token" in answer.text


def test_a_login_from_a_page_elsewhere_is_refused(dashboard: Dashboard) -> None:
    assert dashboard.post("/login", {"token": TOKEN}, Origin="https://evil.example").status == 403


def test_the_cookie_cannot_be_read_by_scripts_nor_sent_from_elsewhere(dashboard: Dashboard) -> None:
    cookie = dashboard.post("/login", {"token": TOKEN}).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie
    host = f"queues.example.org:{dashboard.port}"
    behind = dashboard.post("/login", {"token": TOKEN}, Origin=f"https://{host}", Host=host)
    assert behind.status == 421


def test_a_logout_ends_the_session(dashboard: Dashboard, dead: int) -> None:
    inside = dashboard.log_in("ada")
    assert "Log out ada" in inside.get("/").text
    assert inside.post("/logout").status == 303
    assert inside.post(f"/tasks/{dead}/retry").status == 401
    assert "Log out" not in inside.get("/").text


def test_a_login_leads_back_but_never_elsewhere(dashboard: Dashboard) -> None:
    for given, leads in {
        "/tasks?queue=a": "/tasks?queue=a", "https://evil.example": "/", "//evil.example": "/", "/\\evil.example": "/",
        "javascript:alert(1)": "/", "": "/", "/a\r\nSet-Cookie: x=y": "/",
    }.items():  # fmt: skip
        assert dashboard.post("/login", {"token": TOKEN, "next": given}).headers["location"] == leads


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8474", "localhost.evil.example", "", "127.0.0.1.evil.example", "a@127.0.0.1"]
)
def test_another_name_is_refused(dashboard: Dashboard, host: str) -> None:
    for path in ("/", "/events?parts=queues", "/static/page.js", "/nothing"):
        assert dashboard.get(path, Host=host).status in {400, 421}


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8474", "10.1.2.3:80", "queues.example.org"]
)
def test_our_names_are_answered(serve: Serve, host: str) -> None:
    assert serve("--allow-host", "Queues.example.org").get("/", Host=host).status == 200


def test_a_program_with_the_token_acts_without_a_form(
    dashboard: Dashboard, conn: psycopg.Connection, dead: int
) -> None:
    answer = dashboard.ask("POST", f"/tasks/{dead}/retry", **BEARER)
    assert (answer.status, answer.text) == (200, f'{{"said":"Task {dead} will run again."}}')
    assert task_row(conn, dead).status == "pending"
    assert dashboard.ask("POST", "/tasks/999/retry", **BEARER).status == 404
    assert dashboard.ask("POST", "/queues/none/pause", **BEARER).status == 404


def test_whoever_acts_is_recorded(dashboard: Dashboard, conn: psycopg.Connection) -> None:
    make_queue(conn)
    number = make_task(conn)
    inside = dashboard.log_in("ada\n<b>")
    for path in ("/queues/jobs/pause", "/queues/jobs/resume", f"/tasks/{number}/cancel", f"/tasks/{number}/retry"):
        assert inside.post(path).status == 303
    recorded = conn.execute("select actor, action from pgq.audit order by id").fetchall()
    assert recorded == [("ada<b> (dashboard)", action) for action in ("pause", "resume", "cancel", "retry")]
    assert "ada&lt;b&gt; (dashboard)" in inside.get("/audit").text


def test_what_was_done_is_said_once(dashboard: Dashboard, conn: psycopg.Connection) -> None:
    make_queue(conn)
    inside = dashboard.log_in()
    assert inside.post("/queues/jobs/pause").headers["location"] == "/queues/jobs"
    assert "Queue jobs is paused" in inside.get("/queues/jobs").text
    assert "Queue jobs is paused" not in inside.get("/queues/jobs").text


def test_every_answer_has_the_headers_that_browsers_heed(dashboard: Dashboard) -> None:
    for path in ("/", "/tasks/x", "/static/page.js", "/login", "/nothing"):
        headers = dashboard.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] in {"no-store", "no-cache"}
        assert "server" not in headers


def test_static_files_are_asked_about_and_not_sent_again(dashboard: Dashboard) -> None:
    first = dashboard.get("/static/base.css")
    again = dashboard.get("/static/base.css", **{"If-None-Match": first.headers["etag"]})
    assert (first.status, again.status, again.text) == (200, 304, "")
    assert again.headers["cache-control"] == "no-cache"


def test_no_page_has_a_script_or_a_style_inside(dashboard: Dashboard, dead: int) -> None:
    inside = dashboard.log_in()
    for path in (
        "/",
        "/queues/jobs",
        "/tasks",
        f"/tasks/{dead}",
        "/dead",
        "/dead/replay",
        "/workers",
        "/health",
        "/login",
    ):
        text = inside.get(path).text
        assert "<style" not in text
        assert " style=" not in text
        assert " onclick=" not in text
        assert "<script>" not in text
        assert "http://" not in text.replace(dashboard.url, "")
        assert "https://" not in text


def test_where_others_get_in_reading_needs_the_token(serve: Serve) -> None:
    for arguments in (["--host", EVERYWHERE], ["--login"]):
        dashboard = serve(*arguments)
        for path in ("/", "/tasks", "/dead", "/tasks/1", "/audit"):
            assert dashboard.get(path).headers["location"].startswith("/login?next=")
        for path in ("/events?parts=queues", "/minutes", "/metrics", "/"):
            assert dashboard.ask("GET", path).status == 401
        assert dashboard.ask("GET", "/minutes", **BEARER).status == 200
        assert dashboard.log_in().get("/tasks").status == 200


def refusal(*arguments: str, dsn: str = "postgresql://127.0.0.1:1/x") -> str:
    command = [sys.executable, "-m", "pgq.cli", "dashboard", "--dsn", dsn, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env={"PATH": ""})
    assert done.returncode == 1, done.stdout
    return done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", EVERYWHERE], "0.0.0.0 can be reached from other machines: give a token"),
        (["--host", "::"], ":: can be reached from other machines: give a token"),
        (["--token", "short"], "the token must have at least 16 characters, got 5"),
        (["--host", "no such host"], "cannot listen on 'no such host'"),
        (["--host", "203.0.113.7", "--token", TOKEN], "cannot listen on 203.0.113.7:8474"),
    ],
)
def test_what_would_let_others_in_is_refused(arguments: list[str], said: str) -> None:
    assert said in refusal(*arguments)


def test_a_port_that_is_taken_is_said(dashboard: Dashboard) -> None:
    assert "Address already in use" in refusal("--port", str(dashboard.port))


def test_the_address_that_is_printed_logs_in(serve: Serve, open_page: Callable[..., Any]) -> None:
    dashboard = serve(token="")
    address = dashboard.process.stdout.readline().split()[-1]
    page = open_page(address)
    page.get_by_role("button", name="Log out").wait_for()
    assert "#" not in page.url
