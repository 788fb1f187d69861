"""Two sessions step by step: start something that has to wait, see that it waits, let it go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
from pooler import WANTED

DEADLINE = 10.0  # seconds

# Whoever looks at the workers waits for an advisory lock: a statement that does has its snapshot, but no row locked.
GATE = """
alter table pgq.workers rename to workers_behind;
create function pgq.gate() returns boolean language plpgsql as $$
begin
  perform pg_advisory_xact_lock(42);
  return true;
end $$;
create view pgq.workers as select * from pgq.workers_behind where pgq.gate();
select pg_advisory_lock(42);
"""


def wait_until(reached: Callable[[], Any]) -> None:
    """Return when the condition holds. Raises AssertionError at the deadline."""
    ends = time.monotonic() + DEADLINE
    while not reached():
        assert time.monotonic() < ends, "the condition was not reached in time"
        time.sleep(0.002)


def wait_for_lock(watcher: psycopg.Connection, waiting: psycopg.Connection) -> None:
    """Return when the session `waiting` stands behind a lock of another one; behind a pooler, when any session does."""
    which = "true" if WANTED else "pid = %s"
    query = (
        "select bool_or(cardinality(pg_blocking_pids(pid)) > 0) from pg_stat_activity"
        f" where datname = current_database() and backend_type = 'client backend' and {which}"
    )
    values = () if WANTED else (waiting.info.backend_pid,)
    wait_until(lambda: watcher.execute(query, values).fetchone() == (True,))


@contextmanager
def started(work: Callable[[], Any]) -> Iterator[Future[Any]]:
    """Start `work` in a thread; the block is what happens meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(work)


@contextmanager
def behind(watcher: psycopg.Connection, waiting: psycopg.Connection, work: Callable[[], Any]) -> Iterator[Future[Any]]:
    """Start `work`, which uses the session `waiting`; the block runs once that stands behind a lock."""
    with started(work) as future:
        wait_for_lock(watcher, waiting)
        yield future


@contextmanager
def between_snapshot_and_locks(
    watcher: psycopg.Connection, waiting: psycopg.Connection, work: Callable[[], Any]
) -> Iterator[Future[Any]]:
    """Start `work`, a claim or a recovery; the block runs after it took its snapshot, before it locks a row."""
    watcher.execute(GATE)
    with behind(watcher, waiting, work) as future:
        try:
            yield future
        finally:
            watcher.execute("select pg_advisory_unlock(42)")
