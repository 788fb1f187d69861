"""`pgq queues …` and `pgq stats`."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from command_line import document, refuse, succeed
from factory import make_queue, make_task
from pooler import OWN_SESSION


def settings(conn: psycopg.Connection, queue: str, *columns: str) -> tuple[object, ...]:
    (row,) = conn.execute(f"select {', '.join(columns)} from pgq.queues where name = %s", (queue,)).fetchall()
    return row


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file for an app in the current directory; its module has a name of its own in every test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / f"shop_{tmp_path.name}.py"


def declare(file: Path, options: str, limit: str = "") -> str:
    """Write the app anew, under a new name, and return what commands call it."""
    file = file.with_stem(f"{file.stem}_{len(list(file.parent.iterdir()))}")
    customer = f"app.key_limit('customer', {limit})\n" if limit else ""
    file.write_text(f"import pgq\napp = pgq.App()\nmail = app.queue('mail', {options})\n{customer}")
    return f"{file.stem}:app"


def test_sync_writes_the_declared_queues_and_says_what_changed(dsn: str, conn: psycopg.Connection, shop: Path) -> None:
    assert succeed("queues", "sync", declare(shop, "concurrency=5"), "--dsn", dsn) == "mail: added\n"
    assert settings(conn, "mail", "concurrency", "timeout") == (5, 60)
    again = succeed("queues", "sync", declare(shop, "concurrency=5"), "--dsn", dsn)
    assert again == "1 queue declared, nothing changed\n"
    text = succeed("queues", "sync", declare(shop, "timeout=30, rate_limit=pgq.Rate(100, 60)"), "--dsn", dsn)
    assert text == "mail: concurrency 5 -> -, rate_max - -> 100, rate_per - -> 60, timeout 60 -> 30\n"


def test_sync_writes_the_declared_limits_too(dsn: str, conn: psycopg.Connection, shop: Path) -> None:
    first = declare(shop, "", "rate=pgq.Rate(10, 1), concurrency=2")
    assert succeed("queues", "sync", first, "--dsn", dsn) == "mail: added\nlimit customer: added\n"
    assert succeed("queues", "sync", first, "--dsn", dsn) == "1 queue and 1 limit declared, nothing changed\n"
    make_queue(conn, "limit")  # no name of a queue is that of a limit
    changed = succeed("queues", "sync", declare(shop, "", "rate=pgq.Rate(10, 60)"), "--dsn", dsn)
    assert changed == "limit customer: rate_per 1 -> 60, concurrency 2 -> -\n"


def test_sync_leaves_what_was_changed_live(dsn: str, conn: psycopg.Connection, shop: Path) -> None:
    succeed("queues", "sync", declare(shop, "concurrency=5"), "--dsn", dsn)
    succeed("queues", "set", "mail", "--concurrency", 7, "--dsn", dsn)
    assert "nothing changed" in succeed("queues", "sync", declare(shop, "concurrency=5"), "--dsn", dsn)
    assert settings(conn, "mail", "concurrency") == (7,)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (None, "no module"),
        ("app = 1", "has no pgq.App named 'app'"),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero ("),
        ("import gone_with_the_wind", "ModuleNotFoundError: No module named 'gone_with_the_wind' ("),
        ("def (", "cannot be imported: SyntaxError: invalid syntax (shop"),
        ("import pgq\napp = pgq.App()\napp.queue('no name')", "queue name must be"),
    ],
)
def test_an_app_that_cannot_be_used_is_one_sentence(dsn: str, shop: Path, code: str | None, sentence: str) -> None:
    if code is not None:
        shop.write_text(code)
    assert sentence in refuse("queues", "sync", f"{shop.stem}:app", "--dsn", dsn)


def test_no_queues_is_a_sentence(dsn: str) -> None:
    for words in (["queues", "list"], ["stats"]):
        assert succeed(*words, "--dsn", dsn).startswith("There are no queues: declare them in code")
        assert document(*words, "--dsn", dsn) == []


def test_queues_are_listed_with_their_settings(dsn: str, conn: psycopg.Connection) -> None:
    make_queue(conn, "mail", concurrency=5, rate_max=100, rate_per=60, jitter=0.25, delay=2, keep_dead=False)
    make_queue(conn, "a", backoff="fixed", delay=90)
    lines = succeed("queues", "list", "--dsn", dsn).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["a", "mail"]
    assert "90s" in lines[1]
    for part in ("100/1m", "2s doubling to 1d +25%", "7d", "no"):
        assert part in lines[2]
    assert [(row["name"], row["rate_max"], row["paused"]) for row in document("queues", "list", "--dsn", dsn)] == [
        ("a", None, False),
        ("mail", 100, False),
    ]


def test_set_changes_what_is_given_and_nothing_else(dsn: str, conn: psycopg.Connection) -> None:
    make_queue(conn, "mail", timeout=17, max_delay=44)
    words = [
        "--concurrency", 5, "--rate", "100/60s", "--max-attempts", 9, "--backoff", "fixed", "--delay", "10s",
        "--jitter", "0.5", "--retention", "1d", "--no-keep-dead", "--on-limiter-down", "run",
    ]  # fmt: skip
    shown = document("queues", "set", "mail", *words, "--dsn", dsn)
    expected = {
        "concurrency": 5, "rate_max": 100, "rate_per": 60, "max_attempts": 9, "backoff": "fixed", "delay": 10,
        "jitter": 0.5, "retention": 86400, "keep_dead": False, "on_limiter_down": "run", "timeout": 17, "max_delay": 44,
    }  # fmt: skip
    assert {key: shown[key] for key in expected} == expected
    assert settings(conn, "mail", *expected) == tuple(expected.values())
    again = document("queues", "set", "mail", "--timeout", "1m", "--max-delay", "2h", "--keep-dead", "--dsn", dsn)
    assert (again["timeout"], again["max_delay"], again["keep_dead"], again["delay"]) == (60, 7200, True, 10)


@OWN_SESSION
def test_a_change_of_limits_is_announced_to_workers(dsn: str, conn: psycopg.Connection) -> None:
    make_queue(conn, "mail")
    conn.execute("listen pgq")
    succeed("queues", "set", "mail", "--rate", "100/60s", "--dsn", dsn)
    assert [note.payload for note in conn.notifies(timeout=5, stop_after=1)] == ["settings:"]


def test_set_takes_limits_away(dsn: str, conn: psycopg.Connection) -> None:
    make_queue(conn, "mail", concurrency=5, rate_max=100, rate_per=60)
    succeed("queues", "set", "mail", "--concurrency", "none", "--rate", "none", "--dsn", dsn)
    assert settings(conn, "mail", "concurrency", "rate_max", "rate_per") == (None, None, None)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--concurrency", "0"], "concurrency of queue 'mail' must be at least 1, got 0"),
        (["--rate", "0/60s"], "starts of a rate limit must be at least 1, got 0"),
        (["--rate", "1/0s"], "rate limit window must be above 0 seconds, got 0"),
        (["--timeout", "0"], "timeout of queue 'mail' must be above 0 seconds"),
        (["--max-attempts", "0"], "max_attempts of queue 'mail' must be at least 1, got 0"),
        (["--jitter", "2"], "jitter of queue 'mail' must be 0 to 1, got 2.0"),
        (["--jitter", "nan"], "jitter of queue 'mail' must be 0 to 1, got nan"),
    ],
)
def test_a_setting_out_of_range_is_one_sentence_and_nothing_changes(
    dsn: str, conn: psycopg.Connection, words: list[str], sentence: str
) -> None:
    make_queue(conn, "mail", concurrency=3)
    assert sentence in refuse("queues", "set", "mail", "--delay", "9s", *words, "--dsn", dsn)
    assert settings(conn, "mail", "concurrency", "delay") == (3, 5)


def test_set_without_a_change_is_a_usage_error(dsn: str) -> None:
    refuse("queues", "set", "mail", "--dsn", dsn, code=2)


def test_pause_stops_claims_and_resume_lets_them_go_on(dsn: str, conn: psycopg.Connection) -> None:
    make_queue(conn, "mail")
    assert succeed("queues", "pause", "mail", "--dsn", dsn).startswith("paused mail")
    assert document("stats", "--queue", "mail", "--dsn", dsn)[0]["paused"] is True
    assert succeed("queues", "resume", "mail", "--dsn", dsn) == "resumed mail\n"
    assert document("stats", "--queue", "mail", "--dsn", dsn)[0]["paused"] is False


@pytest.mark.parametrize(
    "words",
    [
        ["queues", "pause", "x"],
        ["queues", "resume", "x"],
        ["queues", "set", "x", "--delay", "1"],
        ["stats", "--queue", "x"],
    ],
)
def test_an_unknown_queue_is_one_sentence(dsn: str, words: list[str]) -> None:
    assert "unknown queue 'x'" in refuse(*words, "--dsn", dsn)


def test_stats_count_what_waits_and_runs(dsn: str, conn: psycopg.Connection) -> None:
    make_task(conn, queue="mail", due=-120)
    make_task(conn, queue="mail", status="processing")
    conn.execute("insert into pgq.counts (queue, minute, completed, dead) values ('mail', now(), 7, 2)")
    (row,) = document("stats", "--dsn", dsn)
    assert (row["queue"], row["pending"], row["processing"], row["completed"], row["dead"]) == ("mail", 1, 1, 7, 2)
    assert row["oldest_due_age"] >= 120
    cells = succeed("stats", "--dsn", dsn).splitlines()[1].split()
    assert cells[:3] == ["mail", "1", "1"]
    assert cells[-4:] == ["7", "0", "2", "2m"]


def test_stats_fit_a_hundred_columns_whatever_they_count(dsn: str, conn: psycopg.Connection) -> None:
    make_queue(conn, "a-queue-with-a-name-that-is-longer-than-any-should-be", paused_at="now")
    conn.execute(
        "insert into pgq.counts (queue, minute, completed, failed, dead)"
        " select name, now(), 123456789, 1234567, 123456 from pgq.queues"
    )
    lines = succeed("stats", "--dsn", dsn).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[1].split()[0] == "a-queue-with-a-na…"
    assert lines[1].endswith("paused")
    assert lines[1].split()[-5:-2] == ["123M", "1234k", "123k"]
    wide = succeed("stats", "--wide", "--dsn", dsn).splitlines()
    assert wide[1].startswith("a-queue-with-a-name-that-is-longer-than-any-should-be ")
    assert "RUN P50" in wide[0]


def test_waits_and_rates_are_in_the_document(dsn: str, conn: psycopg.Connection) -> None:
    make_queue(conn)
    (row,) = document("stats", "--dsn", dsn)
    assert {"wait_p50", "wait_p95", "run_p50", "run_p95", "arrived_1m", "served_60m", "throttled_until"} <= row.keys()
    for words in (["--watch", "--json"], ["--watch", "--interval", "0"]):
        refuse("stats", *words, "--dsn", dsn, code=2)
