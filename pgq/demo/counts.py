"""How far the run's own tasks have come, and which of them are dead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row


@dataclass(frozen=True, slots=True)
class Counts:
    """One queue's tasks of this run, by status; `waiting` are those of the pending that are due."""

    queue: str
    pending: int
    waiting: int
    processing: int
    completed: int
    failed: int
    dead: int

    @property
    def total(self) -> int:
        """All tasks of the queue."""
        return self.pending + self.processing + self.ended

    @property
    def ended(self) -> int:
        """Tasks that will not run again."""
        return self.completed + self.failed + self.dead


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A task that is out of attempts, and the order it was for; `crashes` counts attempts that died with a worker."""

    id: int
    queue: str
    order: int
    attempts: int
    crashes: int
    error: str


@dataclass(frozen=True, slots=True)
class Waits:
    """Average seconds that mails waited for a worker: password resets (priority 0) and newsletters (priority 8)."""

    resets: float
    news: float


@dataclass(frozen=True, slots=True)
class Throttle:
    """A queue at its limit: how many starts of how many are in its window, and the seconds until the next one."""

    queue: str
    used: int
    max: int
    per: float
    wait: float


def read_counts(conn: psycopg.Connection, after: int) -> list[Counts]:
    """Return the counts of every queue that has tasks newer than the task id `after`."""
    with conn.cursor(row_factory=class_row(Counts)) as cursor:
        return cursor.execute(_COUNTS, (after,)).fetchall()


def read_throttles(conn: psycopg.Connection) -> list[Throttle]:
    """Return the queues that may start nothing now, as upkeep saw them."""
    with conn.cursor(row_factory=class_row(Throttle)) as cursor:
        return cursor.execute(_THROTTLES).fetchall()


def read_dead(conn: psycopg.Connection, after: int) -> list[DeadLetter]:
    """Return the dead letters newer than the task id `after`."""
    with conn.cursor(row_factory=class_row(DeadLetter)) as cursor:
        return cursor.execute(_DEAD, (after,)).fetchall()


def read_waits(conn: psycopg.Connection, after: int) -> Waits:
    """Return how long the mails newer than the task id `after` waited that needed one attempt."""
    with conn.cursor(row_factory=class_row(Waits)) as cursor:
        (waits,) = cursor.execute(_WAITS, (after,)).fetchall()
    return waits


def ended(counts: Sequence[Counts]) -> int:
    """Return how many tasks of all queues will not run again."""
    return sum(queue.ended for queue in counts)


_COUNTS = """
select
  queue,
  count(*) filter (where status = 'pending') as pending,
  count(*) filter (where status = 'pending' and scheduled_at <= now()) as waiting,
  count(*) filter (where status = 'processing') as processing,
  count(*) filter (where status = 'completed') as completed,
  count(*) filter (where status = 'failed') as failed,
  count(*) filter (where status = 'dead') as dead
from pgq.tasks
where id > %s
group by queue
order by queue
"""

_THROTTLES = """
select
  key as queue,
  used,
  rate_max as max,
  rate_per as per,
  extract(epoch from throttled_until - clock_timestamp())::float8 as wait
from pgq.limit_stats
where kind = 'queue' and rate_max is not null and throttled_until > clock_timestamp()
"""

_DEAD = """
select id, queue, (payload ->> 'order')::integer as order, attempts, crashes, last_error as error
from pgq.dead_tasks
where id > %s
order by id
"""

_WAITS = """
select
  coalesce(avg(waited) filter (where priority = 0), 0)::float8 as resets,
  coalesce(avg(waited) filter (where priority = 8), 0)::float8 as news
from (
  select priority, extract(epoch from started_at - created_at) as waited
  from pgq.tasks
  where queue = 'email' and attempts = 1 and id > %s
) as mail
"""
