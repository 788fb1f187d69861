"""One analyst: `python -m benchmarks.reader`, its order on stdin, its report on stdout.

It runs three reports over a whole table in one REPEATABLE READ transaction, again and again, until SIGTERM.
"""

from __future__ import annotations

import json
import signal
import sys

import psycopg
from psycopg import sql

REPORTS = (
    "select status, count(*), avg(attempts) from {} group by status",
    "select task, percentile_cont(0.95) within group (order by completed_at - created_at) from {} group by task",
    "select date_trunc('minute', created_at) as minute, priority, count(*) from {} group by minute, priority",
)


def main() -> None:
    """Report how often all reports were run."""
    order = json.loads(sys.stdin.readline())
    table = sql.Identifier(*order["table"].split("."))
    times, stopped = 0, False
    with psycopg.connect(order["dsn"]) as conn:
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ

        def stop(*_: object) -> None:
            nonlocal stopped
            stopped = True
            conn.cancel_safe()

        signal.signal(signal.SIGTERM, stop)
        print(json.dumps("ready"), flush=True)
        while not stopped:
            try:
                with conn.transaction():
                    for report in REPORTS:
                        conn.execute(sql.SQL(report).format(table)).fetchall()
                times += 1
            except psycopg.errors.QueryCanceled:
                break
    print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main()
