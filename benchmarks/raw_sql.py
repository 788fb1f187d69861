"""The yardstick of the drain: what the same server does when nothing but claim and settle statements reach it.

Timed: from the first claim to the return of the last settle, on one connection, by turns: claim 500, settle those
500. Both are prepared statements that commit by themselves, durably. The ids travel as one array, as pgbench would
pass them, so that the client has next to nothing to do. On: one plain table, not partitioned, rows kept, with a
primary key and the partial index that a claim by priority needs, analyzed before the start.
"""

from __future__ import annotations

from time import monotonic

import psycopg

BATCH = 500

_TABLE = """
create table raw_tasks (
  id bigint generated always as identity primary key,
  queue text not null,
  task text not null,
  payload json not null,
  priority smallint not null default 5,
  status text not null default 'pending',
  attempts integer not null default 0,
  scheduled_at timestamptz not null default clock_timestamp(),
  started_at timestamptz,
  completed_at timestamptz
);
create index on raw_tasks (queue, priority, scheduled_at, id) where status = 'pending';
"""
_FILL = """
insert into raw_tasks (queue, task, payload)
select 'bench', 'noop', json_build_object('i', i)
from generate_series(0, %s - 1) as i
"""
_CLAIM = """
with best as (
  select id
  from raw_tasks
  where queue = %s and status = 'pending' and scheduled_at <= statement_timestamp()
  order by priority, scheduled_at, id
  limit %s
  for update skip locked
), claimed as (
  update raw_tasks as t
  set status = 'processing', attempts = attempts + 1, started_at = clock_timestamp()
  from best
  where t.id = best.id
  returning t.id
)
select array_agg(id)::text, count(*) from claimed
"""
_SETTLE = """
update raw_tasks
set status = 'completed', completed_at = clock_timestamp()
where id = any (%s::text::bigint[])
"""


def rate(dsn: str, tasks: int) -> float:
    """Return the tasks per second. Raises RuntimeError when not all of them were settled."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(_TABLE)
        conn.execute(_FILL, (tasks,))
        conn.execute("analyze raw_tasks")
        began = monotonic()
        settled = drain(conn)
        took = monotonic() - began
        conn.execute("drop table raw_tasks")
    if settled != tasks:
        raise RuntimeError(f"the yardstick settled {settled} of {tasks} rows")
    return tasks / took


def drain(conn: psycopg.Connection) -> int:
    """Claim and settle until nothing is left; returns how many rows were settled."""
    settled = 0
    while True:
        ((ids, count),) = conn.execute(_CLAIM, ("bench", BATCH), prepare=True).fetchall()
        if not count:
            return settled
        settled += conn.execute(_SETTLE, (ids,), prepare=True).rowcount
