"""How many outcomes are committed, by `pgq.counts`, at a cost that does not grow with the run.

Each look reads only the last minutes. The whole table would do, but under a held horizon it keeps a dead row for every
batch that ever settled, and looking must not be what slows the run.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import psycopg

from benchmarks.app import QUEUE

_NOW = "select date_trunc('minute', clock_timestamp())"
_COUNTS = """
select minute, sum(completed + failed + dead + cancelled)::bigint
from pgq.counts
where queue = %s and minute >= %s
group by minute
"""


class Outcomes:
    """Counts the outcomes of the benchmark's queue from the minute it is made in; look at least once a minute."""

    def __init__(self, conn: psycopg.Connection) -> None:
        self._conn = conn
        ((self._since,),) = conn.execute(_NOW).fetchall()
        self._minutes: dict[datetime, int] = {}

    def count(self) -> int:
        """Return how many outcomes are committed since the beginning of that minute."""
        self._minutes.update(self._conn.execute(_COUNTS, (QUEUE, self._since), prepare=True).fetchall())
        if self._minutes:  # a batch that is under way may still be of the minute before
            self._since = max(self._since, max(self._minutes) - timedelta(minutes=1))
        return sum(self._minutes.values())
