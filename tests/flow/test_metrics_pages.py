"""The pages themselves: of a database in a known state, and of a real worker process."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from command_line import start, until
from factory import insert, make_queue, make_task, make_tasks, make_worker
from prometheus_client.parser import text_string_to_metric_families

from pgq import metrics
from pgq.db import Call, run
from pgq.metrics.names import DATABASE, PROCESS


def parsed(page: bytes) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(page.decode())}


def values(page: bytes) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels, reverse=True))): sample.value
        for family in parsed(page).values()
        for sample in family.samples
    }


def test_the_page_of_the_database_says_what_the_views_say(conn: psycopg.Connection) -> None:
    make_queue(conn, "mail", rate_max=10, rate_per=60.0, paused_at="now")
    make_queue(conn, "pdf", concurrency=3)
    insert(conn, "limits", {"name": "customer", "concurrency": 1})
    make_tasks(conn, 3, queue="mail", due=-100)
    make_task(conn, queue="pdf", status="processing")
    make_worker(conn, concurrency=20, running=7)
    make_worker(conn, silent_for=100)
    make_worker(conn, concurrency=5, stopping=True)
    insert(conn, "limit_usage", {"name": "queue:mail", "used": 4, "running": 1})
    insert(conn, "limit_usage", {"name": "customer:acme", "used": 0, "running": 1, "free_at": "2999-01-01"})
    insert(conn, "counts", {"queue": "mail", "minute": "now", "completed": 5, "dead": 2})
    found = values(metrics.page(metrics.read(conn)))
    assert found["pgq_queue_pending", "mail"] == 3
    assert found["pgq_queue_processing", "pdf"] == 1
    assert (found["pgq_queue_paused", "mail"], found["pgq_queue_paused", "pdf"]) == (1, 0)
    assert found["pgq_queue_oldest_due_seconds", "mail"] == pytest.approx(100, abs=30)
    assert (found["pgq_tasks_total", "mail", "completed"], found["pgq_tasks_total", "mail", "dead"]) == (5, 2)
    assert [found["pgq_workers", state] for state in ("alive", "stopping", "silent")] == [1, 1, 1]
    assert (found["pgq_worker_slots",], found["pgq_worker_slots_busy",]) == (20, 7)
    assert (found["pgq_limit_max", "queue:mail", "rate"], found["pgq_limit_used", "queue:mail", "rate"]) == (10, 4)
    assert found["pgq_limit_max", "queue:pdf", "concurrency"] == 3
    assert found["pgq_limit_throttled_keys", "customer"] == 1
    assert ("pgq_queue_wait_seconds", "mail", "0.5") not in found  # nothing ran: nobody knows
    assert found["pgq_queue_needed_workers", "pdf"] >= 0
    checks = dict(conn.execute("select name, status from pgq.health").fetchall())
    shown = {name[1]: value for name, value in found.items() if name[0] == "pgq_health"}
    assert shown == {check: ("ok", "warn", "critical").index(status) for check, status in checks.items()}


def test_every_name_of_the_database_is_on_its_page_and_no_other(conn: psycopg.Connection) -> None:
    page = metrics.page(metrics.read(conn))
    assert set(parsed(page)) == {metric.name.removesuffix("_total") for metric in DATABASE}


async def test_an_async_connection_reads_the_same(aconn: psycopg.AsyncConnection, conn: psycopg.Connection) -> None:
    make_queue(conn)
    make_tasks(conn, 2)
    assert values(metrics.page(await metrics.aread(aconn)))["pgq_queue_pending", "jobs"] == 2


def test_totals_never_fall_whatever_is_merged_and_forgotten(conn: psycopg.Connection) -> None:
    make_queue(conn)

    def total() -> float:
        return values(metrics.page(metrics.read(conn)))["pgq_tasks_total", "jobs", "completed"]

    for ago in ("10 days", "8 days", "1 hour", "1 hour", "5 minutes", "0 minutes"):
        conn.execute(
            "insert into pgq.counts (queue, minute, completed)"
            " values ('jobs', date_trunc('minute', now() - %s::interval), 7)",
            (ago,),
        )
    assert total() == 42
    for step in ("roll_up", "prune_counts") * 3:
        run(conn, Call(step, {}))
        assert total() == 42
    # What a long transaction counted late, into a minute that was merged long ago, shows once it is merged.
    for ago in ("1 hour", "2 minutes"):
        conn.execute(
            "insert into pgq.counts (queue, minute, completed)"
            " values ('jobs', date_trunc('minute', now() - %s::interval), 1)",
            (ago,),
        )
    seen = total()
    for step in ("roll_up", "prune_counts", "roll_up"):
        run(conn, Call(step, {}))
        assert total() >= seen
        seen = total()
    assert seen == 44


def test_without_the_client_a_sentence_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from pgq import metrics\n"
        "metrics.page({})\n"
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "ConfigError: metrics need the Prometheus client: pip install 'pgq-tasks[metrics]'" in done.stderr


def get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        body: bytes = answer.read()
    return body


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found: int = free.getsockname()[1]
    return found


@pytest.fixture
def worker(dsn: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start_one(*words: object) -> subprocess.Popen[str]:
        started.append(start("worker", "cli_app:app", "--dsn", dsn, *words))
        return started[-1]

    yield start_one
    for process in started:
        process.terminate()
        process.communicate(timeout=30)


def heard(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(words)


def test_a_worker_serves_its_own_page_and_that_of_the_database(
    worker: Callable[..., subprocess.Popen[str]], conn: psycopg.Connection, port: int
) -> None:
    heard(worker("--metrics-port", port), "serves")
    conn.execute("select pgq.enqueue('side', 'nothing', '{}') from generate_series(1, 30)")
    conn.execute("select pgq.enqueue('jobs', 'fail', '{\"text\": \"no\"}')")
    ended = ("pgq_worker_outcomes_total", "side", "completed")
    dead = ("pgq_worker_outcomes_total", "jobs", "dead")
    until(lambda: {ended: 30, dead: 1}.items() <= values(get(port, "/metrics")).items())
    now = values(get(port, "/metrics"))
    assert now["pgq_worker_claimed_total", "side"] == 30
    assert (now["pgq_worker_claim_tasks_sum",], now["pgq_worker_settle_tasks_sum",]) == (32, 32)  # one was tried twice
    assert now["pgq_worker_claim_seconds_count",] == now["pgq_worker_claim_seconds_bucket", "+Inf"] > 0
    assert now["process_resident_memory_bytes",] > 1e6
    assert {m.name.removesuffix("_total") for m in PROCESS} <= set(parsed(get(port, "/metrics")))
    queues = values(get(port, "/metrics/queues?x=1"))
    assert (queues["pgq_tasks_total", "side", "completed"], queues["pgq_tasks_total", "jobs", "dead"]) == (30, 1)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(port, "/else")


def test_a_port_that_is_taken_is_one_sentence(worker: Callable[..., subprocess.Popen[str]], port: int) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        for words in ([], ["--processes", 2]):
            process = worker("--metrics-port", port, *words)
            _, said = process.communicate(timeout=30)
            assert process.returncode == 1
            assert said.splitlines()[-1] == f"pgq: metrics cannot be served at 127.0.0.1:{port}: Address already in use"


def test_each_of_several_processes_has_a_port(worker: Callable[..., subprocess.Popen[str]], port: int) -> None:
    process = worker("--metrics-port", port, "--processes", 2)
    heard(process, " serves ")
    heard(process, " serves ")
    names = {
        sample.labels["worker"]
        for place in (port, port + 1)
        for sample in parsed(get(place, "/metrics"))["pgq_worker_info"].samples
    }
    assert len(names) == 2
