"""The lists of the dashboard: however long the history, a page reads no more tasks than it may look at."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from factory import make_queue
from plans import explain
from psycopg.conninfo import make_conninfo

from pgq.dashboard.lists import LOOK
from pgq.db import Call

pytestmark = pytest.mark.slow

QUEUES = ("jobs", "mail", "rare")
FIRST, LAST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
FILL = """
insert into pgq.tasks (queue, task, timeout, max_attempts, status, priority, scheduled_at, attempts, started_at,
                       completed_at, last_error, lease)
select case n %% 2 when 0 then 'jobs' else 'mail' end, 'work', 60, 5, %(status)s::pgq.status, n %% 11,
       clock_timestamp() - n * interval '10 milliseconds', 1, clock_timestamp(), clock_timestamp(), 'HTTP 503', null
from generate_series(1, %(count)s) as n
"""
SIZES = {"completed": 200_000, "pending": 60_000, "dead": 40_000, "processing": 2_000}
FILTERS = [
    {},
    {"queue": "jobs"},
    {"queue": "rare"},
    {"task": "none"},
    {"error": "no such text"},
    {"queue": "mail", "task": "none", "error": "none"},
]
LISTS = {
    "dash_recent": {"before": 2**63 - 1},
    "dash_waiting": {"priority": -1, "at": FIRST, "id": 0},
    "dash_running": {"at": FIRST, "id": 0},
    "dash_ended": {"at": LAST, "id": 2**63 - 1},
}


@pytest.fixture(scope="module")
def history(server: str, template: str) -> Iterator[psycopg.Connection]:
    """Return a connection to a database with many tasks of every status."""
    name = f"pgq_history_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"create database {name} template {template}")
        with psycopg.connect(make_conninfo(server, dbname=name), autocommit=True) as conn:
            for queue in QUEUES:
                make_queue(conn, queue)
            for status, count in SIZES.items():
                psycopg.ClientCursor(conn).execute(FILL, {"status": status, "count": count})
            yield conn
        admin.execute(f"drop database {name} with (force)")


@pytest.mark.parametrize("mode", ["custom", "generic"])
@pytest.mark.parametrize("analyzed", [False, True], ids=["fresh", "analyzed"])
@pytest.mark.parametrize("name", LISTS)
def test_a_page_of_tasks_reads_no_more_than_it_looks_at(
    history: psycopg.Connection, name: str, mode: str, analyzed: bool
) -> None:
    if analyzed:
        history.execute("analyze pgq.tasks")
    for asked in FILTERS:
        nothing = dict.fromkeys(("queue", "status", "task", "error"))
        values = {**nothing, **LISTS[name], **asked, "most": LOOK, "limit": 52}
        plan = explain(history, Call(name, values), mode)
        assert [scan for scan in plan.scans if scan["Node Type"] == "Seq Scan" and scan["Actual Rows"] > 1] == [], plan
        assert plan.most_rows <= (LOOK + 1) * len(QUEUES), plan
