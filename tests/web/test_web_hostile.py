"""Every address of the dashboard with what no browser sends: no 500, no traceback, the headers on every answer.

The addresses are those of the application: a new route is tried without being named here.
"""

# ruff: noqa: E501 - long lists of words

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest
from factory import make_queue, make_task
from starlette.routing import Route
from visitor import TOKEN, Dashboard

from pgq.dashboard.application import routes
from pgq.dashboard.guard import HEADERS

WORDS = [
    "", "0", "-1", "17", "9" * 400, "9223372036854775808", "%00", "%ff%fe", "%ed%a0%80", "%c0%ae%c0%ae", "..", "..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/%2e%2e/etc/passwd", "%0d%0aSet-Cookie:%20a=b", "%0aX: y", "'%20or%201=1--", "%27;drop%20schema%20pgq;--", "%25s%25(x)s{}",
    "%E2%80%AEabc", "%F0%9F%91%A9", "<script>alert(1)</script>", "x" * 5000, "a+b", "%", "%zz", "\\\\evil.example", "//evil.example", "null",
]  # fmt: skip
FIELDS = (
    "queue", "status", "task", "error", "older", "newer", "after", "before", "sort", "page", "limit", "rate", "since", "until", "minutes",
    "next", "actor", "action", "id", "form_token", "token", "name", "note", "wide", "priority",
)  # fmt: skip
BODIES = [
    (b"", "application/x-www-form-urlencoded"), (b"a" * 200_000, "application/x-www-form-urlencoded"), (b"\xff\xfe\0", "application/x-www-form-urlencoded"),
    (b"{}", "application/json"), (b"a=b", ""), (b"a=b", "text/plain"), (b"--x\r\n\r\n", "multipart/form-data; boundary=x"), (b"=&=&&%&%zz=%zz", "application/x-www-form-urlencoded"),
    (b"token=" + b"\xed\xa0\x80", "application/x-www-form-urlencoded; charset=utf-16"), (b"name=%00&token=%00&form_token=%ff", "application/x-www-form-urlencoded"),
]  # fmt: skip
BAD_HEADERS = [
    ("Origin", "http://["), ("Origin", "\xff"), ("Host", "["), ("Host", ""), ("Host", "127.0.0.1:99999999"), ("Host", "a b"), ("Host", "[::1"),
    ("Cookie", "\xff\xfe=\xff; ;;=;" * 50), ("Cookie", "a" * 8000), ("Authorization", "Bearer \xff"), ("Authorization", "Bearer"), ("Authorization", ""),
    ("Accept", "\xff" * 100), ("Last-Event-ID", "x" * 5000), ("If-None-Match", "\xff"), ("Range", "bytes=9999999999-"), ("If-Modified-Since", "x"),
    ("Content-Length", "-1"), ("Content-Length", "x"), ("Transfer-Encoding", "gibberish"), ("X-Forwarded-For", "'"), ("Content-Type", "\xff"),
    ("Connection", "upgrade"), ("Range", "bytes=-0"), ("Accept-Encoding", "\xff"), ("X-Forwarded-Proto", "javascript"),
]  # fmt: skip


def paths(word: str) -> Iterator[tuple[str, str]]:
    """Yield the method and the path of every route, with a word wherever a path has a parameter, or after it."""
    for route in routes():
        methods = sorted(route.methods - {"HEAD"}) if isinstance(route, Route) else ["GET"]
        path = route.path if isinstance(route, Route) else f"{route.path}/{{file}}"
        for method in methods:
            yield method, re.sub(r"{\w+}", lambda _: word, path)
            yield method, f"{re.sub(r'{[a-z]+}', 'jobs', path)}/{word}"


def raw(
    dashboard: Dashboard, method: str, path: str, headers: list[tuple[str, str]], body: bytes = b""
) -> tuple[int, str]:
    """Send bytes as they are; returns the status (0: the connection was closed without an answer) and the whole answer."""
    given = {name.lower() for name, _ in headers}
    more = [("Host", f"127.0.0.1:{dashboard.port}")] if "host" not in given else []
    more += [("Content-Length", str(len(body)))] if "content-length" not in given and body else []
    more += [("Cookie", dashboard.cookie)] if dashboard.cookie and "cookie" not in given else []
    head = "".join(f"{name}: {value}\r\n" for name, value in [*more, *headers, ("Connection", "close")])
    with socket.create_connection(("127.0.0.1", dashboard.port), timeout=30) as stream:
        answer = b""
        with suppress(ConnectionError):  # it need not read all of what it refuses
            stream.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
            while b"\r\n\r\n" not in answer and (some := stream.recv(65536)):
                answer += some
            while b"text/event-stream" not in answer and len(answer) < 1_000_000 and (some := stream.recv(65536)):
                answer += some
    text = answer.decode("utf-8", "replace")
    return (int(text.split(" ", 2)[1]) if text else 0), text


def check(dashboard: Dashboard, method: str, path: str, headers: list[tuple[str, str]], body: bytes = b"") -> None:
    """Send one request; the answer is no fault of ours, tells nothing of our code, and has every header once."""
    status, text = raw(dashboard, method, path, headers, body)
    about = (method, path[:100], headers[:3], body[:40], status, text[-300:])
    assert status < 500, about
    assert "Traceback" not in text, about
    assert "psycopg" not in text, about
    head, _, content = text.partition("\r\n\r\n")
    assert "\r\nSet-Cookie: a=b" not in head, about
    assert "<script>alert" not in content, about
    assert "root:x:0" not in content, about
    if status not in {0, 400} or "content-security-policy" in head.lower():  # 400 may be the server's own, before ours
        for name in HEADERS:
            assert len(re.findall(rf"^{name}:", head, re.IGNORECASE | re.MULTILINE)) == 1, about


@pytest.fixture
def inside(dashboard: Dashboard, conn: psycopg.Connection) -> Dashboard:
    make_queue(conn)
    make_task(conn, status="dead", last_error="<script>alert(1)</script>")
    return dashboard.log_in()


def test_every_route_with_hostile_words_in_its_path(inside: Dashboard) -> None:
    origin = [("Origin", inside.url), ("Accept", "text/html")]
    for word in WORDS:
        for method, path in paths(word.replace(" ", "%20")):
            form = b"form_token=" + inside.form_token.encode() if method == "POST" else b""
            check(inside, method, path, [*origin, ("Content-Type", "application/x-www-form-urlencoded")], form)
            inside = inside if not path.startswith("/logout") else Dashboard(inside.process, inside.port).log_in()


def test_every_page_with_hostile_words_in_its_query(inside: Dashboard) -> None:
    pages = [route.path for route in routes() if isinstance(route, Route) and "GET" in route.methods]
    for page in pages:
        path = page.format(name="jobs", id="1", action="replay")
        for word in WORDS:
            query = "&".join(f"{field}={word}" for field in FIELDS).replace(" ", "%20")
            check(inside, "GET", f"{path}?{query[:20_000]}", [("Accept", "text/html")])
        for field in FIELDS:
            for word in WORDS[::9]:
                check(
                    inside,
                    "GET",
                    f"{path}?{field}={word}&{field}=".replace(" ", "%20"),
                    [("Accept", "application/json")],
                )


def test_every_form_with_hostile_bodies(inside: Dashboard) -> None:
    forms = [route.path for route in routes() if isinstance(route, Route) and "POST" in route.methods]
    for form in forms:
        path = form.format(name="jobs", id="1", action="replay")
        for body, kind in BODIES:
            for who in (inside, Dashboard(inside.process, inside.port)):
                check(who, "POST", path, [("Origin", inside.url), ("Content-Type", kind)], body)
                check(who, "POST", path, [("Content-Type", kind), ("Authorization", f"Bearer {TOKEN}")], body)


@pytest.mark.parametrize("header", BAD_HEADERS, ids=lambda header: f"{header[0]} {header[1][:12]!r}")
def test_hostile_headers(inside: Dashboard, header: tuple[str, str]) -> None:
    for method, path in (
        ("GET", "/"),
        ("GET", "/tasks"),
        ("POST", "/login"),
        ("POST", "/queues/jobs/pause"),
        ("GET", "/static/style.css"),
    ):
        check(inside, method, path, [header], b"a=b" if method == "POST" else b"")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "HEAD", "PROPFIND"])
def test_other_methods(inside: Dashboard, method: str) -> None:
    for _, path in paths("jobs"):
        check(inside, method, path, [])
