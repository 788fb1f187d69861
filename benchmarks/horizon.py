"""A transaction that holds the horizon: while it is open, Postgres may remove no row version that died since."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from benchmarks.results import Outcome

_HOLDS = "select backend_xmin is not null from pg_stat_activity where pid = %s"


@contextmanager
def held(dsn: str, outcome: Outcome, where: str) -> Iterator[None]:
    """Hold a REPEATABLE READ transaction that has read the tasks, as a report or a dump does.

    Makes the run invalid when the server does not count its snapshot to the end.
    """
    with psycopg.connect(dsn) as holder, psycopg.connect(dsn, autocommit=True) as conn:
        holder.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        holder.execute("select count(*) from pgq.tasks")
        yield
        row = conn.execute(_HOLDS, (holder.info.backend_pid,)).fetchone()
        outcome.require(row == (True,), f"{where}: the transaction did not hold the horizon")
        with suppress(psycopg.OperationalError):  # it is gone: that is said above
            holder.rollback()
