"""The stream: who gets what, what it costs in memory, and what becomes of it while the database is away."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from factory import make_queue, make_tasks
from pooler import OWN_SESSION
from psycopg.conninfo import make_conninfo
from visitor import Dashboard, Serve

from pgq import embedded, migrate

READERS = (
    "select count(*) from pg_stat_activity where application_name = 'pgq dashboard' and datname = current_database()"
)


class Listener:
    """One browser, as far as events go."""

    def __init__(self, dashboard: Dashboard, parts: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", dashboard.port, timeout=20)
        self.connection.request("GET", f"/events?parts={parts}")
        self.answer = self.connection.getresponse()

    def next(self, part: str) -> Any:
        """Return the next event of a part."""
        while True:
            name = self.answer.readline().decode()
            if name == f"event: {part}\n":
                return json.loads(self.answer.readline().decode().removeprefix("data: "))
            assert name, "the stream ended"

    def close(self) -> None:
        self.connection.sock.close() if self.connection.sock else None
        self.answer.close()


@contextmanager
def listening(dashboard: Dashboard, parts: str, count: int = 1) -> Iterator[list[Listener]]:
    listeners = [Listener(dashboard, parts) for _ in range(count)]
    try:
        yield listeners
    finally:
        for listener in listeners:
            listener.close()


def pending(event: Any) -> int:
    return sum(queue["pending"] for queue in event["queues"])


def test_a_burst_is_told_within_a_second(dashboard: Dashboard, conn: psycopg.Connection) -> None:
    make_queue(conn)
    with listening(dashboard, "queues") as (listener,):
        assert pending(listener.next("queues")) == 0
        conn.execute("select pgq.enqueue('jobs', 'work', '{}') from generate_series(1, 500)")
        began = time.monotonic()
        while pending(listener.next("queues")) < 500:
            pass
        assert time.monotonic() - began < 1.0


@OWN_SESSION
def test_twenty_browsers_cost_one_reader(dashboard: Dashboard, conn: psycopg.Connection) -> None:
    make_queue(conn)
    with listening(dashboard, "queues,health,database", 20) as listeners:
        seen = [[listener.next("queues")["at"] for _ in range(3)] for listener in listeners]
        assert conn.execute(READERS).fetchone() == (1,)
    assert len({at for one in seen for at in one}) <= 6


def test_nobody_looks_while_nobody_watches(dashboard: Dashboard, conn: psycopg.Connection) -> None:
    make_queue(conn)
    assert conn.execute(READERS).fetchone() == (0,)
    with listening(dashboard, "queues") as (listener,):
        listener.next("queues")
        assert conn.execute(READERS).fetchone() == (1,)


def resident(dashboard: Dashboard) -> float:
    text = Path(f"/proc/{dashboard.process.pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


@pytest.mark.slow
def test_browsers_that_read_nothing_hold_no_memory(dashboard: Dashboard, conn: psycopg.Connection) -> None:
    for number in range(60):
        make_queue(conn, f"queue-{number}-{'x' * 60}")
    with listening(dashboard, "queues") as (reader,):
        for _ in range(3):
            reader.next("queues")
        with listening(dashboard, "queues", 50):  # none of them reads
            before = resident(dashboard)
            for _ in range(12):
                reader.next("queues")
            assert resident(dashboard) - before < 30


def test_there_is_an_end_to_how_many_may_watch(dashboard: Dashboard) -> None:
    with listening(dashboard, "database", 201) as listeners:
        assert [listener.answer.status for listener in listeners] == [200] * 200 + [503]
    deadline = time.monotonic() + 10
    while True:  # they are gone as soon as the server has noticed
        with listening(dashboard, "database") as (late,):
            if late.answer.status == 200:
                break
        assert time.monotonic() < deadline


def test_a_signal_ends_it_while_browsers_watch(dashboard: Dashboard) -> None:
    with listening(dashboard, "queues", 3) as listeners:
        listeners[0].next("queues")
        assert dashboard.stop() in {0, -15}


@pytest.fixture
def own_server() -> Iterator[Any]:
    with embedded.temporary(settings={"fsync": "off"}) as servers:
        with psycopg.connect(servers.dsn, autocommit=True) as conn:
            migrate.migrate(conn)
            make_queue(conn)
        yield servers


@pytest.mark.slow
def test_it_lives_while_the_database_is_away_and_comes_back(serve: Serve, own_server: Any) -> None:
    dashboard = serve(dsn=own_server.dsn)
    with listening(dashboard, "queues,database") as (listener,):
        listener.next("queues")
        cut(own_server.dsn, allowed=False)
        while listener.next("database")["ok"]:
            pass
        answer = dashboard.get("/tasks")
        assert answer.status == 503
        assert "The database" in answer.text
        assert dashboard.get("/").status == 200
        cut(own_server.dsn, allowed=True)
        while not listener.next("database")["ok"]:
            pass
        listener.next("queues")
    assert dashboard.get("/tasks").status == 200


def cut(dsn: str, *, allowed: bool) -> None:
    """Let nobody into the database any more, and throw out who is there; or let them in again."""
    with psycopg.connect(make_conninfo(dsn, dbname="template1"), autocommit=True) as conn:
        name = psycopg.conninfo.conninfo_to_dict(dsn).get("dbname", "postgres")
        conn.execute(f'alter database "{name}" with allow_connections {allowed}')
        if not allowed:
            conn.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))


def test_it_starts_without_a_database(serve: Serve) -> None:
    dashboard = serve(dsn="postgresql://127.0.0.1:1/none?connect_timeout=1")
    assert dashboard.get("/").status == 200
    answer = dashboard.get("/tasks")
    assert answer.status == 503
    assert "The database does not answer" in answer.text
    with listening(dashboard, "database") as (listener,):
        assert listener.next("database")["ok"] is False


def test_a_schema_that_does_not_fit_is_said(serve: Serve, empty_dsn: str) -> None:
    dashboard = serve(dsn=empty_dsn)
    assert "run `pgq migrate`" in dashboard.get("/tasks").text
    with listening(dashboard, "queues,database") as (listener,):
        while listener.next("database")["ok"]:
            pass


def test_pages_and_events_know_nothing_of_each_other(dashboard: Dashboard, conn: psycopg.Connection) -> None:
    make_tasks(conn, 3)
    with listening(dashboard, "nonsense,queues,../x") as (listener,):
        assert pending(listener.next("queues")) == 3
