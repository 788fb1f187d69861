"""What a task leaves behind: WAL of enqueue, claim and settle apart; bytes of table and indexes; dead row versions.

Timed: nothing. Fifty rounds of 4,000 tasks, each in three steps that do not overlap: enqueued while the queue is
paused (`enqueue_many`, 1,000 a call); claimed, all of them, by a worker with 4,000 slots whose handlers then wait; and
settled, when all handlers are let go at once. `wal_…_bytes` is what each step wrote into the log, per task, whole
pages after a checkpoint included, and the few rows of pausing, resuming and heartbeats. After the last round, once
(`after`): bytes of the days' tables and of each of their indexes per task, row versions that are dead, the share of
updates that left the indexes alone (`hot_share`), and how often autovacuum came by. Then once more after a `vacuum`
by hand (`vacuumed`).

On: one real `pgq.worker.Worker` process with concurrency 4,000 and defaults for all else (so it claims up to 500 at
once), a fresh database. Payload `{"i": n}`, history kept. Server, worker and this harness share the machine.

Durability: the server's as in the manifest; pgq's claims commit asynchronously, enqueue and settle do not.

Checked: in each round every task was claimed before any was settled, and settled before the next round; every row is
completed at its first attempt.
"""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import psycopg

from benchmarks.app import QUEUE, hold
from benchmarks.children import Child, until, workers
from benchmarks.flow import SHARED
from benchmarks.harness import Bench
from benchmarks.measure import Gauge, tell_counts
from benchmarks.results import Outcome
from benchmarks.tally import Tally

HEADLINE = ("wal_enqueue_bytes", "wal_claim_bytes", "wal_settle_bytes", "table_bytes", "index_bytes", "dead_share")
PATIENCE = 60.0  # seconds for a step
_SETTLED = "select coalesce(sum(completed), 0)::bigint from pgq.counts"
_ROWS = "select count(*) from pgq.tasks where status = 'completed' and attempts = 1"
_SIZES = """
select
  sum(pg_table_size(s.relid))::bigint, sum(pg_indexes_size(s.relid))::bigint,
  sum(n_dead_tup)::bigint, sum(n_live_tup)::bigint, sum(n_tup_upd)::bigint, sum(n_tup_hot_upd)::bigint,
  sum(autovacuum_count)::bigint
from pg_stat_user_tables as s
where schemaname = 'pgq' and relname like 'tasks%'
"""
_INDEXES = r"""
select case when i.indisprimary then 'primary key' else substring(pg_get_expr(indpred, indrelid) from '''(\w+)''') end,
       sum(pg_relation_size(i.indexrelid))::bigint
from pg_index as i join pg_stat_user_tables as s on s.relid = i.indrelid
where schemaname = 'pgq' and relname like 'tasks%'
group by 1
"""


def run(bench: Bench) -> Outcome:
    """Measure once per repetition."""
    outcome = Outcome("bloat")
    rounds, tasks = bench.size((50, 4_000), (2, 500))
    for repetition in range(bench.repetitions):
        with (
            bench.database() as dsn,
            psycopg.connect(dsn, autocommit=True) as conn,
            tempfile.TemporaryDirectory(dir=SHARED if SHARED.exists() else None) as place,
        ):
            steps = measure(conn, dsn, Path(place) / "0", rounds, tasks)
            ((rows,),) = conn.execute(_ROWS).fetchall()
            outcome.require(rows == rounds * tasks, f"{rows} of {rounds * tasks} rows are completed")
            outcome.add("WAL", repetition, steps)
            outcome.add("after", repetition, sizes(conn, rounds * tasks))
            conn.execute("vacuum pgq.tasks")
            outcome.add("vacuumed", repetition, sizes(conn, rounds * tasks))
        bench.say(f"bloat {repetition + 1}/{bench.repetitions}: {steps}")
    return outcome


def measure(conn: psycopg.Connection, dsn: str, path: Path, rounds: int, tasks: int) -> dict[str, float]:
    """Run the rounds; returns the bytes of WAL per task of each step."""
    tally = Tally.make(path, rounds * tasks)
    spent = {"wal_enqueue_bytes": 0.0, "wal_claim_bytes": 0.0, "wal_settle_bytes": 0.0}
    with workers(conn, dsn, 1, [path], concurrency=tasks) as crew:
        gauge = Gauge(conn, [child.pid for child in crew])
        for place in range(rounds):
            for step, wal in enumerate(_round(conn, gauge, crew[0], tally, range(place * tasks, (place + 1) * tasks))):
                spent[list(spent)[step]] += wal / (rounds * tasks)
    return {**spent, "wal_bytes": sum(spent.values())}


def _round(conn: psycopg.Connection, gauge: Gauge, worker: Child, tally: Tally, numbers: range) -> list[int]:
    """Enqueue, claim and settle these tasks, one after the other; returns the bytes of WAL of each step."""
    conn.execute("select pgq.pause(%s)", (QUEUE,))
    marks = [gauge.read().wal]
    for first in range(numbers.start, numbers.stop, 1_000):
        hold.enqueue_many(conn, [{"i": i} for i in range(first, min(first + 1_000, numbers.stop))])
    marks.append(gauge.read().wal)
    conn.execute("select pgq.resume(%s)", (QUEUE,))
    until(lambda: tally.count == numbers.stop, PATIENCE)
    marks.append(gauge.read().wal)
    worker.poke()
    until(lambda: conn.execute(_SETTLED).fetchall() == [(numbers.stop,)], PATIENCE)
    marks.append(gauge.read().wal)
    return [later - earlier for earlier, later in pairwise(marks)]


def sizes(conn: psycopg.Connection, tasks: int) -> dict[str, float]:
    """Return what the days' tables hold, per task."""
    tell_counts(conn)
    ((table, indexes, dead, live, updates, hot, vacuums),) = conn.execute(_SIZES).fetchall()
    each = {f"index_bytes: {name}": size / tasks for name, size in conn.execute(_INDEXES).fetchall()}
    return {
        "table_bytes": table / tasks,
        "index_bytes": indexes / tasks,
        **each,
        "dead_share": dead / max(dead + live, 1),
        "hot_share": hot / max(updates, 1),
        "autovacuums": float(vacuums),
    }
