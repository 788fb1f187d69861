"""The demo: a whole run on real servers, and its verdict, which must be able to say no."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

import pgq
from pgq.demo import app as shop
from pgq.demo import database, orders, web
from pgq.demo.check import Evidence, verdict
from pgq.demo.counts import Counts, DeadLetter
from pgq.demo.delivery import Delivery
from pgq.demo.orders import Order
from pgq.demo.progress import Progress
from pgq.demo.run import main

RUN = (
    "import sys; from pgq.demo.run import main;"
    "sys.exit(main(dsn=sys.argv[1], seconds=float(sys.argv[2]), tasks=int(sys.argv[3]), as_json=True))"
)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def start(tmp_path: Path, dsn: str) -> Callable[[float, int], subprocess.Popen[str]]:
    """Start the demo as a process of its own, its files below `tmp_path`."""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}

    def run(seconds: float, tasks: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", RUN, dsn, str(seconds), str(tasks)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)

    return run


@pytest.mark.slow
@pytest.mark.fault
def test_every_committed_order_is_served_although_a_worker_is_killed(
    start: Callable[..., subprocess.Popen[str]], conn: psycopg.Connection
) -> None:
    demo = start(110, 80)
    out, err = demo.communicate(timeout=150)

    said = json.loads(out)
    done = {"pending": 0, "processing": 0, "completed": 20, "failed": 0, "dead": 0}
    assert (demo.returncode, said["lost"], said["unexpected"]) == (0, 0, 0), err
    assert (said["orders"], said["rolled_back"], said["killed_worker"]) == (20, 2, True)
    assert said["queues"] == {
        "email": done, "pdf": done, "images": done, "webhooks": {**done, "completed": 18, "dead": 2},
    }  # fmt: skip
    assert [letter["order"] for letter in said["dead_letters"]] == [2, 3]
    for letter in said["dead_letters"]:
        assert letter["attempts"] == 5
        if not letter["crashes"]:  # else the kill took one of the attempts
            assert [wait >= least for wait, least in zip(letter["delays"], (1, 2, 4, 8), strict=True)] == [True] * 4
    assert conn.execute("select count(*) from pgq.workers").fetchone() == (0,)
    assert conn.execute("select count(*) from pgq.tasks where (payload->>'order')::int in (4, 14)").fetchone() == (0,)


@pytest.mark.slow
def test_a_demo_that_runs_out_of_time_says_what_is_lost_and_fails(start: Callable[..., subprocess.Popen[str]]) -> None:
    demo = start(4, 20)
    out, err = demo.communicate(timeout=60)

    assert demo.returncode == 1
    assert json.loads(out)["lost"] >= 1  # the webhook of a closed customer needs 15 s to die
    assert "time ran out" in err


@pytest.mark.slow
@pytest.mark.fault
def test_an_interrupt_stops_the_workers(start: Callable[..., subprocess.Popen[str]], conn: psycopg.Connection) -> None:
    demo = start(110, 40)
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
        main(dsn=None, seconds=1, tasks=400, as_json=False)


def test_too_few_tasks_are_refused(dsn: str) -> None:
    with pytest.raises(pgq.ConfigError, match="tasks must be at least 20, got 19"):
        main(dsn=dsn, seconds=1, tasks=19, as_json=False)


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
        orders.place_all(first, "http://127.0.0.1:9", 5)
    with database.prepared(dsn) as second:
        assert orders.committed(second) == []
    assert conn.execute("select status::text, count(*) from pgq.tasks group by 1").fetchall() == [("cancelled", 20)]


def test_queues_are_declared_as_configured(dsn: str, conn: psycopg.Connection) -> None:
    with database.prepared(dsn):
        rows = conn.execute(
            "select name, concurrency, timeout, max_attempts, backoff, delay from pgq.queues order by name"
        ).fetchall()
    assert rows == [
        ("email", 5, 30, 3, "exponential", 5),
        ("images", 4, 60, 2, "fixed", 5),
        ("pdf", 3, 120, 2, "fixed", 10),
        ("webhooks", 10, 15, 5, "exponential", 1),
    ]


def test_customers_refuse_one_in_six_first_and_one_in_36_second_attempts_and_the_closed_one_everything() -> None:
    refused = [{order for order in range(1, 73) if web.refuses("ada", order, attempt)} for attempt in (1, 2, 3)]
    assert refused == [set(range(6, 73, 6)), {36, 72}, set()]
    assert all(web.refuses(web.CLOSED, 7, attempt) for attempt in range(1, 6))


@pytest.fixture
def evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evidence:
    """Return what a perfect run leaves behind: three orders, one of them for the closed customer."""
    monkeypatch.setattr(shop, "FOLDER", tmp_path)
    placed = [Order(number, customer, Decimal(number)) for number, customer in enumerate(("ada", web.CLOSED, "ken"), 1)]
    for order in placed:
        shop.write_invoice(order.id, order.customer, str(order.total))
        shop.make_thumbnail(order.id)
    refused = [Delivery(2, attempt, at, accepted=False) for attempt, at in enumerate((0.0, 1.0, 3.0, 7.0, 15.0), 1)]
    return Evidence(
        orders=placed,
        mails=[Delivery(order.id, 1, 0.0) for order in placed],
        hooks=[Delivery(1, 1, 0.0), *refused, Delivery(3, 1, 0.0, accepted=False), Delivery(3, 2, 1.0)],
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
    "order 3: its invoice is no PDF": lambda e: _overwrite(shop.invoice_path(e.folder, 3), b""),
    "order 2: its thumbnail is no image of 320 x 240": lambda e: shop.thumbnail_path(e.folder, 2).unlink(),
    "order 3: its thumbnail is no image of 320 x 240": lambda e: _cut(shop.thumbnail_path(e.folder, 3)),
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


def test_a_thumbnail_of_another_size_is_lost(evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop, "THUMBNAIL", (32, 24))
    shop.make_thumbnail(1)
    assert verdict(evidence).lost == ["order 1: its thumbnail is no image of 320 x 240"]


UNEXPECTED: dict[str, Tamper] = {
    "order 4 does not exist, and yet its mail was sent": lambda e: replace(e, mails=[*e.mails, Delivery(4, 1, 0.0)]),
    "order 4 does not exist, and yet its webhook was sent": lambda e: replace(
        e, hooks=[*e.hooks, Delivery(4, 1, 0.0, accepted=False)]
    ),
    "invoice-4.pdf was made for an order that does not exist": lambda _: shop.write_invoice(4, "ada", "1"),
    "thumbnail-4.png was made for an order that does not exist": lambda _: shop.make_thumbnail(4),
}


@pytest.mark.parametrize("sentence", UNEXPECTED)
def test_a_rolled_back_order_that_was_served_is_unexpected(evidence: Evidence, sentence: str) -> None:
    judged = verdict(UNEXPECTED[sentence](evidence) or evidence)
    assert (judged.lost, judged.unexpected, judged.good) == ([], [sentence], False)


def test_what_was_delivered_again_is_reported_and_allowed(evidence: Evidence) -> None:
    again = replace(
        evidence, mails=[*evidence.mails, Delivery(1, 2, 9.0)], hooks=[*evidence.hooks, *[Delivery(3, 3, 9.0)] * 2]
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


def test_a_terminal_gets_one_table_that_replaces_itself_and_a_file_gets_lines() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    counts = Counts("email", pending=3, processing=1, completed=4, failed=0, dead=0)
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


def _overwrite(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])
