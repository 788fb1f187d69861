"""How the server carries the line's statements out: by which index, in how many days, however old its statistics are.

The planner knows nothing about a fresh day, and less about the length of an array; a plan made on an empty table stays
in a session's cache while the table grows. So every statement is explained on empty, fresh and analyzed days.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
import pytest
from factory import QUEUE, clock, held, make_day, make_queue, make_worker
from plans import Plan, explain
from psycopg.conninfo import make_conninfo
from stages import claim_values, keys

from pgq import statements
from pgq.cursor import BEGINNING, PRIORITIES
from pgq.db import Call

pytestmark = pytest.mark.slow

BATCH = 300
CLAIM_INDEX = "queue_priority_scheduled_at_id_idx"
PROCESSING_INDEX = "queue_started_at_idx"

COMPLETED = """
insert into pgq.tasks (queue, task, timeout, max_attempts, status, priority, scheduled_at, attempts, started_at)
select 'jobs', 'work', 60, 5, 'completed', n %% 11, due, 1, due
from (
  select n, clock_timestamp() - n %% 25 * interval '1 day' - random() * interval '1 minute' as due
  from generate_series(1, %s) as n
) as made
"""
PENDING = """
insert into pgq.tasks (queue, task, timeout, max_attempts, priority, scheduled_at)
select 'jobs', 'work', 60, 5, n %% 11, clock_timestamp() + interval '1 second' * (n %% (%s) * %s)
from generate_series(1, %s) as n
"""
PROCESSING = """
insert into pgq.tasks
  (queue, task, timeout, max_attempts, priority, scheduled_at, status, started_at, lease, attempts, worker_id)
select 'jobs', 'work', 60, 5, n %% 11, clock_timestamp() - interval '1 second' * n, 'processing',
  clock_timestamp() - interval '1 second' * (n %% 50), gen_random_uuid(), 1, 1
from generate_series(1, %s) as n
"""


@dataclass(frozen=True)
class Filling:
    """How many rows of each kind lie in the table."""

    completed: int = 0
    due: int = 0
    later: int = 0
    processing: int = 0


EMPTY = Filling()
YOUNG = Filling(due=2_000, later=200, processing=BATCH)
FULL = Filling(completed=500_000, due=300_000, later=200_000, processing=BATCH)


@dataclass(frozen=True)
class Table:
    """A filled table, and what the statements need to name."""

    conn: psycopg.Connection
    worker_id: int
    now: datetime

    def keys(self) -> dict[str, object]:
        query = "select id from pgq.tasks where status = 'processing' order by id limit %s"
        tasks = [held(self.conn, task_id) for (task_id,) in self.conn.execute(query, (BATCH,)).fetchall()]
        missing = BATCH - len(tasks)
        nobody = {"ids": [-1] * missing, "scheduled": [self.now] * missing, "leases": [uuid.uuid4()] * missing}
        return {"queue": QUEUE, **(keys(tasks) if tasks else nobody)}

    def explain(self, name: str, mode: str, **values: object) -> Plan:
        return explain(self.conn, Call(name, values), mode)

    def claim(self, mode: str, floor: datetime, count: int = BATCH) -> Plan:
        floors = [floor] * len(PRIORITIES)
        return self.explain("claim", mode, **claim_values(self.worker_id, floors=floors, count=count))


@contextmanager
def database(server: str, template: str) -> Iterator[tuple[str, psycopg.Connection]]:
    """Clone a database; yields the name of the clone and a connection to it."""
    name = f"pgq_plans_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server, autocommit=True) as admin:
        # Copying files is the only way before Postgres 15, and the quicker one for a million rows ever since.
        strategy = "strategy file_copy" if admin.info.server_version >= 150_000 else ""
        admin.execute(f"create database {name} template {template} {strategy}")
        with psycopg.connect(make_conninfo(server, dbname=name), autocommit=True) as conn:
            yield name, conn
        admin.execute(f"drop database {name} with (force)")


@pytest.fixture(scope="module")
def full(server: str, template: str) -> Iterator[str]:
    """Return the name of a database with a million tasks that the server has not looked at."""
    with database(server, template) as (name, conn):
        fill(conn, FULL)
        conn.close()
        yield name


@pytest.fixture(scope="module", params=["empty", "young", "full, fresh", "full, analyzed"])
def table(request: pytest.FixtureRequest, server: str, template: str, full: str) -> Iterator[Table]:
    with database(server, full if "full" in request.param else template) as (_, conn):
        if "full" not in request.param:
            fill(conn, EMPTY if request.param == "empty" else YOUNG)
        if "analyzed" in request.param:
            conn.execute("analyze pgq.tasks")
        yield Table(conn, make_worker(conn), clock(conn))


def fill(conn: psycopg.Connection, filling: Filling) -> None:
    make_queue(conn)
    for days in range(-24, 0):
        make_day(conn, days)
    leaves = conn.execute("select inhrelid::regclass::text from pg_inherits where inhparent = 'pgq.tasks'::regclass")
    for (leaf,) in leaves.fetchall():
        conn.execute(f"alter table {leaf} set (autovacuum_enabled = false)")
    client = psycopg.ClientCursor(conn)
    client.execute(COMPLETED, (filling.completed,))
    client.execute(PENDING, (600, -1, filling.due))
    client.execute(PENDING, (800_000, 4, filling.later))
    client.execute(PROCESSING, (filling.processing,))


every_mode = pytest.mark.parametrize("mode", ["custom", "generic"])


@every_mode
def test_a_claim_by_the_cursor_reads_one_day_by_the_claim_index_and_only_what_it_takes(table: Table, mode: str) -> None:
    plan = table.claim(mode, table.now - timedelta(seconds=30))
    assert plan.whole_scans == [], plan
    assert len(plan.touched) <= 2, plan
    assert plan.indexes <= {CLAIM_INDEX, "pkey"}, plan
    assert plan.most_rows <= 2 * BATCH, plan


@every_mode
def test_a_claim_of_one_row_reads_little_more_than_one_row(table: Table, mode: str) -> None:
    plan = table.claim(mode, table.now - timedelta(seconds=30), count=1)
    assert plan.whole_scans == [], plan
    assert plan.most_rows <= len(PRIORITIES), plan


@every_mode
def test_a_sweep_reads_no_day_to_come(table: Table, mode: str) -> None:
    plan = table.claim(mode, BEGINNING)
    assert plan.whole_scans == [], plan
    assert f"tasks_{table.now + timedelta(days=2):%Y%m%d}" not in plan.touched, plan
    assert plan.most_rows <= 2 * BATCH, plan


@every_mode
@pytest.mark.parametrize("name", ["begin", "complete", "forget", "glance", "settle"])
def test_what_names_rows_by_their_keys_reads_those_rows_by_the_primary_key(table: Table, name: str, mode: str) -> None:
    values = table.keys()
    if name == "begin":
        values |= {"suspects": [True] * BATCH, "late": 1.0}
    if name == "settle":
        values |= {
            "statuses": ["pending"] * BATCH,
            "due": [None] * BATCH,
            "after": [30.0] * BATCH,
            "refunds": [0] * BATCH,
            "errors": ["error"] * BATCH,
            "tracebacks": [None] * BATCH,
            "limit_keys": [None] * BATCH,
        }
    plan = table.explain(name, mode, **values)
    assert plan.whole_scans == [], plan
    assert plan.indexes == {"pkey"}, plan
    assert len(plan.touched) <= 2, plan
    assert plan.most_rows <= 2 * BATCH, plan


@every_mode
@pytest.mark.parametrize("recent", [True, False])
def test_recovery_reads_what_is_being_processed_and_nothing_else(table: Table, mode: str, recent: bool) -> None:
    floor = table.now - timedelta(seconds=60) if recent else BEGINNING
    plan = table.explain("recover", mode, queue=QUEUE, floor=floor, grace=0.0, batch=1_000, stepped_at=floor, ahead=0.0)
    assert plan.whole_scans == [], plan
    assert plan.indexes <= {PROCESSING_INDEX, "pkey"}, plan
    assert plan.most_rows <= 4 * BATCH, plan


@every_mode
def test_the_longest_held_task_is_the_first_of_its_index(table: Table, mode: str) -> None:
    plan = table.explain("oldest_processing", mode, queue=QUEUE, floor=table.now - timedelta(seconds=60))
    assert plan.indexes == {PROCESSING_INDEX}, plan
    assert plan.most_rows <= len(plan.touched), plan


@every_mode
def test_the_next_due_task_is_the_first_of_each_priority(table: Table, mode: str) -> None:
    plan = table.explain("next_due", mode, queue=QUEUE, priorities=PRIORITIES)
    assert plan.indexes == {CLAIM_INDEX}, plan
    assert len(plan.touched) <= 2, plan
    assert plan.most_rows <= len(PRIORITIES), plan


@every_mode
def test_a_crowd_is_looked_for_no_further_than_its_reach_and_in_no_day_to_come(table: Table, mode: str) -> None:
    reach = 500
    plan = table.explain("crowd", mode, queue=QUEUE, key="customer:acme", priorities=PRIORITIES, reach=reach)
    assert plan.whole_scans == [], plan
    assert plan.indexes <= {CLAIM_INDEX}, plan
    assert f"tasks_{table.now + timedelta(days=2):%Y%m%d}" not in plan.touched, plan
    assert plan.most_rows <= (reach + 1) * len(PRIORITIES), plan


VIEWS = [file.stem for folder in ("views", "reports") for file in statements.files(folder)]
READ = """
select sum(pg_stat_get_xact_tuples_returned(c.oid))::bigint
from pg_class as c
where c.relkind in ('r', 'i')
  and (c.oid in (select inhrelid from pg_inherits where inhparent = 'pgq.tasks'::regclass)
       or c.oid in (select indexrelid from pg_index
                    where indrelid in (select inhrelid from pg_inherits where inhparent = 'pgq.tasks'::regclass)))
"""


@pytest.mark.parametrize("view", VIEWS)
def test_no_view_reads_more_of_the_tasks_than_it_may_count(table: Table, view: str) -> None:
    """Views call functions, whose plans EXPLAIN does not show; the server counts what they read."""
    with psycopg.connect(table.conn.info.dsn) as conn:  # a new one has read nothing yet
        conn.execute(f"select * from pgq.{view}")
        ((read,),) = conn.execute(READ).fetchall()
    assert read <= 30_000
