"""The demo: a whole run on real servers, and its verdict, which must be able to say no."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
import pytest

import pgq
from pgq.demo import app as shop
from pgq.demo import database, orders, story, web
from pgq.demo.check import Evidence, verdict
from pgq.demo.counts import Counts, DeadLetter, Throttle, Waits
from pgq.demo.delivery import Delivery, came_at
from pgq.demo.limits import Backlog, Proof, fullest_window, proofs, utilisation
from pgq.demo.orders import Order
from pgq.demo.plan import Plan
from pgq.demo.progress import Progress
from pgq.demo.report import complaints
from pgq.demo.run import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def start(tmp_path: Path, dsn: str, redis_url: str) -> Callable[..., subprocess.Popen[str]]:
    """Start the demo as a process of its own, its files below `tmp_path`."""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT), "PGQ_REDIS_URL": redis_url}

    def run(**options: float) -> subprocess.Popen[str]:
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        command = [sys.executable, "-m", "pgq.cli", "demo", "--json", "--dsn", dsn, *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)

    return run


@pytest.mark.slow
@pytest.mark.fault
def test_every_committed_order_is_served_although_a_worker_is_killed(
    start: Callable[..., subprocess.Popen[str]], conn: psycopg.Connection
) -> None:
    demo = start(seconds=110, tasks=50)
    out, err = demo.communicate(timeout=150)

    said = json.loads(out)
    done = {"pending": 0, "waiting": 0, "processing": 0, "completed": 20, "failed": 0, "dead": 0}
    papers = {**done, "completed": 6}
    assert (demo.returncode, said["lost"], said["unexpected"]) == (0, 0, 0), err
    assert (said["orders"], said["rolled_back"], said["killed_worker"]) == (20, 2, True)
    assert said["queues"] == {
        "email": done, "pdf": papers, "images": papers, "webhooks": {**done, "completed": 18, "dead": 2},
    }  # fmt: skip
    assert [letter["order"] for letter in said["dead_letters"]] == [2, 3]
    for letter in said["dead_letters"]:
        assert letter["attempts"] == 5
        if not letter["crashes"]:  # else the kill took one of the attempts
            assert [wait >= least for wait, least in zip(letter["delays"], (1, 2, 4, 8), strict=True)] == [True] * 4
    assert conn.execute("select count(*) from pgq.workers").fetchone() == (0,)
    assert conn.execute("select count(*) from pgq.tasks where (payload->>'order')::int in (4, 14)").fetchone() == (0,)


@pytest.mark.slow
@pytest.mark.fault
def test_no_window_is_fuller_than_its_limit_and_a_backlog_uses_all_of_it(
    start: Callable[..., subprocess.Popen[str]],
) -> None:
    demo = start(seconds=110, tasks=500, speed=4)
    out, err = demo.communicate(timeout=150)

    said = json.loads(out)
    assert (demo.returncode, said["lost"], said["unexpected"]) == (0, 0, 0), err
    mails, hooks = said["limits"]
    assert (mails["name"], mails["max"], mails["per"]) == ("email", 100, 15.0)
    assert (hooks["name"], hooks["max"], hooks["per"]) == ("webhooks", 50, 2.5)
    assert 80 <= mails["fullest_window"] <= 100  # what the killed worker was about to start counts, and never came
    assert 40 <= hooks["fullest_window"] <= 50
    assert 0.95 < mails["utilisation"] <= 1  # 0.98 and more, where the machine has no other work
    assert 0.9 < hooks["utilisation"] <= 1  # the same; its windows are short


@pytest.mark.slow
def test_a_demo_that_runs_out_of_time_says_what_is_lost_and_fails(start: Callable[..., subprocess.Popen[str]]) -> None:
    demo = start(seconds=4, tasks=20)
    out, err = demo.communicate(timeout=60)

    assert demo.returncode == 1
    assert json.loads(out)["lost"] >= 1  # the webhook of a closed customer needs 15 s to die
    assert "time ran out" in err


@pytest.mark.slow
@pytest.mark.fault
def test_an_interrupt_stops_the_workers(start: Callable[..., subprocess.Popen[str]], conn: psycopg.Connection) -> None:
    demo = start(seconds=110, tasks=40)
    assert demo.stderr is not None
    assert any("kill -9" in line for line in demo.stderr)  # by now both workers have registered
    demo.send_signal(signal.SIGINT)
    out, err = demo.communicate(timeout=60)

    assert (demo.returncode, out) == (130, ""), err
    assert "the workers were stopped" in err
    assert conn.execute("select count(*) from pgq.workers").fetchone() == (0,)


def test_missing_libraries_are_named_by_what_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgq.demo.run.EXTRAS", ("no_such_library",))
    with pytest.raises(pgq.ConfigError, match=r"pip install 'pgq-tasks\[demo\]'"):
        main(Plan(), as_json=False)


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        ({"tasks": 19}, "tasks must be at least 20, got 19"),
        ({"speed": 0}, "speed must be above 0, got 0"),
        ({"dsn": "postgresql://localhost/mine"}, "the demo's queues are limited, which needs Redis: give --redis-url"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(plan: dict[str, Any], sentence: str) -> None:
    with pytest.raises(pgq.ConfigError, match=sentence):
        Plan(**plan)


def test_a_redis_that_is_away_is_refused_before_anything_is_done(dsn: str, conn: psycopg.Connection) -> None:
    plan = Plan(dsn=dsn, redis_url="redis://127.0.0.1:9")
    with pytest.raises(pgq.ConfigError, match=r"the Redis that the limits need does not answer: .*Connection refused"):
        story.tell(plan, Progress(io.StringIO()))
    assert conn.execute("select count(*) from pgq.queues").fetchone() == (0,)


def test_a_database_with_such_queues_of_its_own_is_left_alone(dsn: str, conn: psycopg.Connection) -> None:
    theirs = pgq.App()
    theirs.queue("email", concurrency=77)
    theirs.declare(conn)

    with pytest.raises(pgq.ConfigError, match="a queue 'email' of its own"), database.prepared(dsn):
        pass

    assert conn.execute("select name, concurrency from pgq.queues").fetchall() == [("email", 77)]


def test_a_second_demo_in_the_same_database_is_refused(dsn: str) -> None:
    with (
        database.prepared(dsn),
        pytest.raises(pgq.ConfigError, match="another demo is running"),
        database.prepared(dsn),
    ):
        pass


def test_what_an_interrupted_demo_left_is_cancelled_by_the_next(dsn: str, conn: psycopg.Connection) -> None:
    with database.prepared(dsn) as first:
        orders.place_all(first, "http://127.0.0.1:9", 8)
    with database.prepared(dsn) as second:
        assert orders.committed(second) == []
    assert conn.execute("select status::text, count(*) from pgq.tasks group by 1").fetchall() == [("cancelled", 22)]


def test_queues_are_declared_as_configured(dsn: str, conn: psycopg.Connection) -> None:
    with database.prepared(dsn):
        rows = conn.execute(
            "select name, concurrency, rate_max, rate_per, timeout, max_attempts, backoff, delay from pgq.queues"
            " order by name"
        ).fetchall()
    assert rows == [
        ("email", 5, 100, 60, 30, 3, "exponential", 5),
        ("images", 4, None, None, 60, 2, "fixed", 5),
        ("pdf", 3, None, None, 120, 2, "fixed", 10),
        ("webhooks", 10, 50, 10, 15, 5, "exponential", 1),
    ]


def test_customers_refuse_one_in_six_first_and_one_in_36_second_attempts_and_the_closed_one_everything() -> None:
    refused = [{order for order in range(1, 73) if web.refuses("ada", order, attempt)} for attempt in (1, 2, 3)]
    assert refused == [set(range(6, 73, 6)), {36, 72}, set()]
    assert all(web.refuses(web.CLOSED, 7, attempt) for attempt in range(1, 6))


@pytest.fixture
def evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evidence:
    """Return what a perfect run leaves behind: three orders, the second for the closed customer, the first on paper."""
    monkeypatch.setattr(shop, "FOLDER", tmp_path)
    placed = [Order(number, customer, Decimal(number)) for number, customer in enumerate(("ada", web.CLOSED, "ken"), 1)]
    shop.write_invoice(1, "ada", "1")
    shop.make_thumbnail(1)
    refused = [Delivery(2, attempt, at, at, accepted=False) for attempt, at in enumerate((0.0, 1.0, 3.0, 7.0, 15.0), 1)]
    return Evidence(
        orders=placed,
        mails=[Delivery(order.id, 1, 0.0, 0.0) for order in placed],
        hooks=[Delivery(1, 1, 0.0, 0.0), *refused, Delivery(3, 1, 0.0, 0.0, accepted=False), Delivery(3, 2, 1.0, 1.0)],
        dead=[DeadLetter(11, "webhooks", 2, 5, 0, "WebhookRefused")],
        folder=tmp_path,
    )


def test_a_perfect_run_is_judged_good(evidence: Evidence) -> None:
    judged = verdict(evidence)
    assert (judged.lost, judged.unexpected, judged.duplicated, judged.good) == ([], [], [], True)


Tamper = Callable[[Evidence], Evidence | None]
LOST: dict[str, Tamper] = {
    "order 1: its mail was not received": lambda e: replace(e, mails=e.mails[1:]),
    "order 3: its webhook was not delivered": lambda e: replace(e, hooks=e.hooks[:-1]),
    "order 1: its invoice is no PDF": lambda e: shop.invoice_path(e.folder, 1).unlink(),
    "order 1: its thumbnail is no image of 320 x 240": lambda e: shop.thumbnail_path(e.folder, 1).unlink(),
    "order 2: its webhook can never be delivered, and is no dead letter": lambda e: replace(e, dead=[]),
    "order 3: a task of queue pdf was given up: MemoryError": lambda e: replace(
        e, dead=[*e.dead, DeadLetter(12, "pdf", 3, 2, 0, "MemoryError")]
    ),
    "order 2: its webhook died after 4 attempts instead of 5": lambda e: _letter(e, attempts=4),
    "order 2: its webhook was tried after [1.0, 2.0, 4.0] s instead of [1.0, 2.0, 4.0, 8.0] s": lambda e: replace(
        e, hooks=[hook for hook in e.hooks if hook.at < 15]
    ),
    "order 2: its webhook was tried after [0.5, 2.5, 4.0, 8.0] s instead of [1.0, 2.0, 4.0, 8.0] s": lambda e: replace(
        e, hooks=[replace(hook, at=0.5) if (hook.order, hook.attempt) == (2, 2) else hook for hook in e.hooks]
    ),
}


@pytest.mark.parametrize("sentence", LOST)
def test_a_part_of_an_order_that_was_not_served_is_lost(evidence: Evidence, sentence: str) -> None:
    judged = verdict(LOST[sentence](evidence) or evidence)
    assert (judged.lost, judged.unexpected, judged.good) == ([sentence], [], False)


def test_an_invoice_that_is_empty_is_lost(evidence: Evidence) -> None:
    shop.invoice_path(evidence.folder, 1).write_bytes(b"")
    assert verdict(evidence).lost == ["order 1: its invoice is no PDF"]


def test_a_thumbnail_that_was_cut_off_is_lost(evidence: Evidence) -> None:
    path = shop.thumbnail_path(evidence.folder, 1)
    path.write_bytes(path.read_bytes()[:-200])
    assert verdict(evidence).lost == ["order 1: its thumbnail is no image of 320 x 240"]


def test_a_thumbnail_of_another_size_is_lost(evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop, "THUMBNAIL", (32, 24))
    shop.make_thumbnail(1)
    assert verdict(evidence).lost == ["order 1: its thumbnail is no image of 320 x 240"]


UNEXPECTED: dict[str, Tamper] = {
    "order 4 does not exist, and yet its mail was sent": lambda e: replace(
        e, mails=[*e.mails, Delivery(4, 1, 0.0, 0.0)]
    ),
    "order 4 does not exist, and yet its webhook was sent": lambda e: replace(
        e, hooks=[*e.hooks, Delivery(4, 1, 0.0, 0.0, accepted=False)]
    ),
    "invoice-5.pdf was made for an order that does not exist or needs none": lambda _: shop.write_invoice(5, "", "1"),
    "thumbnail-5.png was made for an order that does not exist or needs none": lambda _: shop.make_thumbnail(5),
    "invoice-3.pdf was made for an order that does not exist or needs none": lambda _: shop.write_invoice(3, "", "1"),
}


@pytest.mark.parametrize("sentence", UNEXPECTED)
def test_a_rolled_back_order_that_was_served_is_unexpected(evidence: Evidence, sentence: str) -> None:
    judged = verdict(UNEXPECTED[sentence](evidence) or evidence)
    assert (judged.lost, judged.unexpected, judged.good) == ([], [sentence], False)


def test_what_was_delivered_again_is_reported_and_allowed(evidence: Evidence) -> None:
    again = replace(
        evidence,
        mails=[*evidence.mails, Delivery(1, 2, 9.0, 9.0)],
        hooks=[*evidence.hooks, *[Delivery(3, 3, 9.0, 9.0)] * 2],
    )
    judged = verdict(again)
    assert judged.duplicated == [
        "order 1: its mail was delivered 2 times",
        "order 3: its webhook was delivered 3 times",
    ]
    assert judged.good


def test_an_attempt_that_died_with_its_worker_explains_a_missing_delay(evidence: Evidence) -> None:
    interrupted = replace(_letter(evidence, crashes=1), hooks=[hook for hook in evidence.hooks if hook.at < 15])
    assert verdict(interrupted).good


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux knows when a connection came")
def test_a_connection_that_is_accepted_late_came_when_it_came() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        before = monotonic()
        with socket.create_connection(server.getsockname()):
            after = monotonic()
            while monotonic() < after + 0.2:
                pass  # the server is busy
            accepted, _ = server.accept()
            with accepted:
                assert before <= came_at(accepted) <= after + 0.05


def test_the_fullest_window_is_found_wherever_it_begins() -> None:
    assert fullest_window([], 1) == 0
    assert fullest_window([5.0], 1) == 1
    assert fullest_window([0.0, 0.9, 1.8, 1.9, 2.0, 2.7, 4.0], 1) == 4  # from 1.8 on
    assert fullest_window([0.0, 1.0], 1) == 2  # its two ends are part of it
    assert fullest_window([0.0, 1.001], 1) == 1


def test_utilisation_is_the_time_that_full_turns_need_over_the_time_they_took() -> None:
    burst = [turn * 12.0 + place / 100 for turn in range(3) for place in range(4)]
    late = [at + (at >= 12.0) * 3.0 for at in burst]  # the second turn began 3 s too late
    assert utilisation(burst[:4], 4, 12.0) is None
    assert utilisation(burst[:5], 4, 12.0) == 1.0
    assert utilisation(burst[:8], 4, 12.0) == 1.0
    assert utilisation(burst, 4, 12.0) == 1.0
    assert utilisation(late, 4, 12.0) == 24 / 27


def test_what_came_after_the_backlog_was_gone_says_nothing_about_utilisation() -> None:
    queues = [queue.settings for queue in shop.app.queues.values()]
    mails = [n * 0.6 for n in range(201)]  # in no order, 100 in 60 s sharp
    mails += [1000.0]
    received = {
        "email": [Delivery(1, 1, at, at * 0.9) for at in mails[::-1]],
        "webhooks": [Delivery(1, 1, n * 0.4, n * 0.4) for n in range(101)],
    }
    mail, hook = proofs(queues, received, {"email": 500.0, "webhooks": 21.0})
    assert (mail.name, mail.max, mail.per, mail.utilisation) == ("email", 100, 60, 1.0)
    assert (hook.name, hook.max, hook.per, hook.utilisation) == ("webhooks", 50, 10, 0.5)
    assert (mail.fullest_window, hook.fullest_window) == (101, 26)
    assert (mail.fullest_received, hook.fullest_received) == (112, 26)


def test_a_backlog_is_over_when_a_look_finds_nothing_that_waits() -> None:
    email = Counts("email", pending=3, waiting=3, processing=0, completed=0, failed=0, dead=0)
    hooks = replace(email, queue="webhooks")
    backlog = Backlog()
    backlog.look([email, hooks], 1.0)
    backlog.look([email, replace(hooks, waiting=0)], 2.0)  # what is left are retries that are due later
    backlog.look([email, replace(hooks, waiting=1)], 3.0)
    assert backlog.until == {"email": 3.0, "webhooks": 1.0}


def test_a_window_that_was_too_full_fails_the_demo_with_a_sentence(evidence: Evidence) -> None:
    full = Proof("email", 100, 12.0, 100, 101, 0.99)
    ending = story.Ending(
        verdict(evidence), evidence, story.Watched(None, Backlog(), finished=True), [full], [], Waits(0, 1), 0, 9.0
    )
    over = replace(ending, limits=[replace(full, fullest_window=101)])
    assert (ending.exit_code, complaints(ending)) == (0, [])
    assert (over.exit_code, complaints(over)) == (
        1, ["limit exceeded: 101 of email began within 12 s, 100 may"],
    )  # fmt: skip


def test_a_throttled_queue_says_when_it_goes_on() -> None:
    counts = Counts("email", pending=200, waiting=200, processing=0, completed=100, failed=0, dead=0)
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        Progress(stream).show([counts], [Throttle("email", 100, 100, 12.0, 2.14)])
    assert terminal.getvalue().endswith("\nemail 100/100 in 12 s, next in 2.1 s\n")
    assert file.getvalue().endswith("s  email 100/300 (100/100 in 12 s, next in 2.1 s)\n")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_one_table_that_replaces_itself_and_a_file_gets_lines() -> None:
    counts = Counts("email", pending=3, waiting=3, processing=1, completed=4, failed=0, dead=0)
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        progress = Progress(stream)
        progress.show([counts])
        progress.show([counts])  # nothing new, and within the same second
        progress.show([replace(counts, completed=5, processing=0)])

    assert terminal.getvalue().count("queue ") == 2
    assert terminal.getvalue().count("\x1b[2F\x1b[J") == 1
    assert file.getvalue().endswith("s  email 4/8\n")
    assert "\x1b" not in file.getvalue()


def _letter(evidence: Evidence, **changes: Any) -> Evidence:
    return replace(evidence, dead=[replace(evidence.dead[0], **changes)])
