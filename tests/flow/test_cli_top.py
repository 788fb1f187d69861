"""`pgq top` and `pgq stats --watch` in a real terminal, with real keys, beside a real database."""

from __future__ import annotations

import signal

import psycopg
import pytest
from command_line import document, refuse, until
from factory import insert, make_queue, make_task, make_tasks, make_worker, task_row
from pooler import OWN_SESSION
from terminal import terminal

DOWN, TAB = "\x1b[B", "\t"


@pytest.fixture
def shop(conn: psycopg.Connection) -> dict[str, int]:
    """Fill two queues: some tasks wait, one runs, two are dead; returns the ids of the last three."""
    for name in ("email", "webhooks"):
        make_queue(conn, name)
    worker = make_worker(conn, name="desk:17", concurrency=20, running=1, queues=["email", "webhooks"])
    make_tasks(conn, 3, queue="email")
    running = make_task(conn, queue="email", task="send", status="processing", worker_id=worker, running_for=90)
    dead = make_task(conn, queue="webhooks", task="deliver", status="dead", last_error="HTTP 503 \x1b[31m[bold]x")
    other = make_task(conn, queue="webhooks", task="deliver", status="dead", last_error="HTTP 404")
    return {"running": running, "dead": dead, "other": other}


def paused(conn: psycopg.Connection, queue: str) -> bool:
    return conn.execute("select paused_at is not null from pgq.queues where name = %s", (queue,)).fetchone() == (True,)


def test_it_shows_queues_workers_and_what_runs_in_80_by_24(dsn: str, shop: dict[str, int]) -> None:
    with terminal("top", "--interval", "0.1", "--dsn", dsn) as seen:
        seen.shows("1 workers, 1/20 busy, ", "email", "webhooks", "desk:17", "send", str(shop["running"]), "q end")
        line = next(line for line in seen.lines if line.startswith("> email"))
        assert line.split()[:4] == [">", "email", "3", "1"]
        assert len(seen.lines) == 24
        seen.press("q")
        until(lambda: seen.process.poll() is not None)
        assert seen.process.returncode == 0
        assert seen.left_as_it_was()


@pytest.mark.usefixtures("shop")
def test_it_shows_what_each_queue_needs_and_what_a_supervisor_may_have(dsn: str, conn: psycopg.Connection) -> None:
    for number in range(2):
        make_worker(conn, name=f"rack:9:{number}", concurrency=20, supervisor="rack:9", scale="2..16", queues=["email"])
    needed = "select needed_slots from pgq.autoscale where queue = 'email'"
    with terminal("top", "--interval", "0.1", "--dsn", dsn, columns=110) as seen:
        seen.shows("rack:9:0", "2 of 2..16")
        line = next(line for line in seen.lines if line.startswith("> email"))
        need = conn.execute(needed).fetchone()[0]
        assert need > 0
        assert line.split()[:5] == [">", "email", "3", "1", str(need)]
        assert f"1/60 busy, {need} needed" in seen.lines[0]
        seen.press("?")
        seen.shows("NEED is the slots")


@pytest.mark.usefixtures("shop")
def test_rates_are_drawn_as_they_are_seen(dsn: str, conn: psycopg.Connection) -> None:
    with terminal("top", "--interval", "0.1", "--dsn", dsn, columns=110) as seen:
        seen.shows("▁▁")
        insert(conn, "counts", {"queue": "email", "minute": "now", "completed": 500})
        seen.shows("█")


@pytest.mark.usefixtures("shop")
def test_a_queue_is_paused_and_resumed_after_a_yes_and_not_after_a_no(dsn: str, conn: psycopg.Connection) -> None:
    with terminal("top", "--interval", "0.1", "--dsn", dsn) as seen:
        seen.shows("webhooks")
        seen.press(DOWN, "p")
        seen.shows("pause queue webhooks?")
        seen.press("n")
        seen.hides("pause queue")
        assert not paused(conn, "webhooks")
        seen.press("p")
        seen.shows("pause queue webhooks?")
        seen.press("y")
        seen.shows("paused queue webhooks")
        assert paused(conn, "webhooks")
        assert not paused(conn, "email")
        seen.press("p")
        seen.shows("resume queue webhooks?")
        seen.press("y")
        until(lambda: not paused(conn, "webhooks"))
    assert [entry["action"] for entry in document("audit", "--dsn", dsn)] == ["resume", "pause"]


def test_a_running_task_is_cancelled_and_a_dead_one_retried(
    dsn: str, conn: psycopg.Connection, shop: dict[str, int]
) -> None:
    with terminal("top", "--interval", "0.1", "--dsn", dsn) as seen:
        seen.shows(str(shop["running"]), "desk:17")
        seen.press(TAB, "c")
        seen.shows(f"cancel task {shop['running']} (send)?")
        seen.press("y")
        seen.shows("was asked to stop")
        assert task_row(conn, shop["running"]).cancel_requested
        seen.press("v")
        seen.shows("DEAD ID", "HTTP 503", "[bold]x")
        seen.press("/", *"404", "\r")
        seen.hides("HTTP 503")
        seen.press("r")
        seen.shows(f"retry task {shop['other']} (deliver)?")
        seen.press("y")
        seen.shows("will run again")
        assert task_row(conn, shop["other"]).status == "pending"
        assert task_row(conn, shop["dead"]).status == "dead"


@pytest.mark.usefixtures("shop")
def test_all_dead_letters_of_a_queue_are_replayed(dsn: str, conn: psycopg.Connection) -> None:
    with terminal("top", "--interval", "0.1", "--dsn", dsn) as seen:
        seen.shows("webhooks")
        seen.press("/", *"web", "\r", "r")
        seen.shows("replay all dead letters of webhooks?")
        seen.press("y")
        seen.shows("replayed 2 dead letters of webhooks")
    assert conn.execute("select count(*) from pgq.tasks where status = 'dead'").fetchone() == (0,)


@pytest.mark.usefixtures("shop")
def test_help_sorting_and_another_size(dsn: str) -> None:
    with terminal("top", "--interval", "0.1", "--dsn", dsn) as seen:
        seen.shows("email")
        seen.press("?")
        seen.shows("pause or resume the queue", "Any key goes back")
        seen.press("x", "s")
        seen.shows("queues by pending")
        seen.resize(120, 40)
        until(lambda: len(seen.lines) == 40 and any(line.startswith("  WORKER") for line in seen.lines))
        seen.resize(50, 10)
        seen.shows("pgq top needs 60x12, this is 50x10")
        seen.resize(80, 24)
        seen.shows("email", "desk:17")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.usefixtures("shop")
def test_whatever_ends_it_gives_the_terminal_back(dsn: str, number: int) -> None:
    with terminal("top", "--dsn", dsn) as seen:
        seen.shows("email")
        seen.process.send_signal(number)
        until(lambda: seen.process.poll() is not None)
        assert seen.left_as_it_was()


@pytest.mark.usefixtures("shop")
@OWN_SESSION
def test_a_database_that_goes_away_is_said_and_comes_back(dsn: str, server: str, conn: psycopg.Connection) -> None:
    name = conn.info.dbname
    with terminal("top", "--interval", "0.1", "--dsn", dsn) as seen, psycopg.connect(server, autocommit=True) as root:
        seen.shows("email")
        root.execute(f"alter database {name} with allow_connections false")
        root.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgq top'")
        seen.shows("the database is away", "email")  # what was seen last stays
        seen.press("p", "y")
        seen.shows("not done: ")
        root.execute(f"alter database {name} with allow_connections true")
        seen.hides("the database is away")
        make_queue(conn, "anew")
        seen.shows("anew")


def test_without_a_terminal_it_says_so(dsn: str) -> None:
    assert "needs a terminal" in refuse("top", "--dsn", dsn)


@pytest.mark.usefixtures("shop")
def test_stats_are_watched_until_q(dsn: str, conn: psycopg.Connection) -> None:
    with terminal("stats", "--watch", "--interval", "0.1", "--dsn", dsn, columns=100) as seen:
        seen.shows("QUEUE", "email", "q ends")
        make_queue(conn, "anew")
        seen.shows("anew")
        seen.press("q")
        until(lambda: seen.process.poll() is not None)
        assert (seen.process.returncode, seen.left_as_it_was()) == (0, True)


@pytest.mark.usefixtures("shop")
def test_stats_end_at_an_interrupt_too(dsn: str) -> None:
    with terminal("stats", "--watch", "--dsn", dsn) as seen:
        seen.shows("email")
        seen.press("\x03")
        until(lambda: seen.process.poll() is not None)
        assert seen.left_as_it_was()
