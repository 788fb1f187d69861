"""The doorbell in the hands of a benchmark: nobody sleeps, somebody always does, it does nothing, or it always rings.

The last two replace `pgq.ring` in the benchmark's own database, so that the product carries no switch for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from benchmarks.app import QUEUE, noop
from pgq import statements
from pgq.doorbell import CHANNEL

_RING = """
create or replace function pgq.ring(queue text, bell integer) returns boolean
language plpgsql
as $$
begin
  {}
end
$$
"""
_INSTEAD: Mapping[str, str] = {
    "no_notify": "return false;",
    "always": f"perform pg_notify('{CHANNEL}', 'ring:' || ring.queue); return true;",
}
_BELL = "select bell from pgq.queues where name = %s"
_ORIGINAL = "select pg_get_functiondef('pgq.ring(text, integer)'::regprocedure)"
_LOCKS = "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"


class Bell(AbstractContextManager["Bell"]):
    """Two sessions: one that may sleep with the bell of the queue and listens, and one that changes what it is."""

    def __init__(self, dsn: str) -> None:
        self._sleeper = psycopg.connect(dsn, autocommit=True)
        self._conn = psycopg.connect(dsn, autocommit=True)
        self._sleeper.execute(f"listen {CHANNEL}")
        ((self._bell,),) = self._conn.execute(_BELL, (QUEUE,)).fetchall()
        ((self._original,),) = self._conn.execute(_ORIGINAL).fetchall()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._sleeper.close()
        self._conn.close()

    @contextmanager
    def set(self, which: str) -> Iterator[None]:
        """Let the bell be what a turn wants; anything unknown is the real one with nobody asleep."""
        if which in _INSTEAD:
            self._conn.execute(sql.SQL(_RING).format(sql.SQL(_INSTEAD[which])))
        if which == "rung":
            self._sleeper.execute(statements.query("doze"), {"bell": self._bell})
        try:
            yield
        finally:
            self._sleeper.execute("select pg_advisory_unlock_all()")
            self._conn.execute(self._original)

    def problems(self, which: str, conn: psycopg.Connection) -> list[str]:
        """Return why the turn that just ended was not what it says; reads what was heard."""
        heard = sum(1 for _ in self._sleeper.notifies(timeout=0.02))
        found = []
        if (heard > 0) != (which in {"rung", "always"}):
            found.append(f"{which}: a listener heard {heard} rings")
        if which in {"ours", "no_notify"}:
            with conn.transaction(force_rollback=True):
                noop.enqueue(conn, i=0)
                ((locks,),) = conn.execute(_LOCKS).fetchall()
            if (locks > 0) != (which == "ours"):
                found.append(f"{which}: an enqueue holds {locks} advisory locks")
        return found
