"""Whoever lost a lease records nothing: not an end, not a retry, not a release, in whatever order things happen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from itertools import cycle, islice

import psycopg
import pytest
from factory import make_worker
from fault_app import work
from stages import begin, claim, complete, recover, settle

from pgq.db import Call, run
from pgq.task import Settled, Task

pytestmark = pytest.mark.fault

Say = Callable[[str], None]
Lasting = Callable[[float], float]
Verb = Callable[[psycopg.Connection, list[Task]], list[int]]
BATCH = 500


def with_outcome(outcome: Settled) -> Verb:
    return lambda conn, tasks: settle(conn, *((task, outcome) for task in tasks))


def complete_each(conn: psycopg.Connection, tasks: list[Task]) -> list[int]:
    """Complete tasks one by one, as a handler does in its own transaction."""
    moved = []
    for task in tasks[:20]:  # a statement each
        values = {"queue": task.queue, "id": task.id, "scheduled_at": task.scheduled_at, "lease": task.lease}
        moved += [row[0] for row in run(conn, Call("complete_in", values))]
    return moved


VERBS: dict[str, Verb] = {
    "completion": lambda conn, tasks: complete(conn, *tasks),
    "deletion": lambda conn, tasks: complete(conn, *tasks, forget=True),
    "completion in a transaction": complete_each,
    "retry": with_outcome(Settled("pending", after=0.0, error="x")),
    "release": with_outcome(Settled("pending", refund=1)),
    "burial": with_outcome(Settled("dead", error="x")),
    "beginning": lambda conn, tasks: begin(conn, *tasks),
}


def claim_all(conn: psycopg.Connection, worker: int, count: int = BATCH) -> list[Task]:
    return claim(conn, worker, queue="load", tasks=["work"], count=count)


def enqueue_batch(conn: psycopg.Connection) -> None:
    work.enqueue_many(conn, [{"key": str(number)} for number in range(BATCH)])


def bury(conn: psycopg.Connection, worker: int) -> None:
    """Let a worker's lease be over."""
    conn.execute("update pgq.workers set heartbeat_at = '-infinity' where id = %s", (worker,))


@pytest.fixture
def long_up(dsn: str) -> str:
    """Return the database, whose server has been up for longer than a lease of these tests."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            "select pg_sleep(greatest(0, extract(epoch from pg_postmaster_start_time() + interval '1 second'"
            " - clock_timestamp())))"
        )
    return dsn


def test_of_ten_thousand_tasks_taken_over_the_old_owner_records_none(
    long_up: str, measured: Say, lasting: Lasting
) -> None:
    """Every verb is tried while nobody has the task, while its new owner has it, and after that one has ended it."""
    tried = accepted = 0

    def refused(stale: psycopg.Connection, tasks: list[Task], verbs: Iterable[str]) -> None:
        nonlocal tried, accepted
        for name in verbs:
            tried += len(tasks)
            accepted += len(VERBS[name](stale, tasks))

    turns = round(lasting(20))
    with psycopg.connect(long_up, autocommit=True) as conn, psycopg.connect(long_up, autocommit=True) as stale:
        new = make_worker(conn, lease=3600.0)
        for _ in range(turns):
            enqueue_batch(conn)
            old = make_worker(conn, lease=0.5)
            tasks = claim_all(stale, old)
            bury(conn, old)
            assert len(recover(conn, "load", grace=1.0, batch=BATCH)) == BATCH
            refused(stale, tasks, VERBS)
            again = claim_all(conn, new)
            refused(stale, tasks, VERBS)
            assert len(complete(conn, *again)) == len(tasks) == BATCH
            refused(stale, tasks, VERBS)
        rows = conn.execute("select status::text, attempts, worker_id, count(*)::int from pgq.tasks group by 1, 2, 3")
        assert rows.fetchall() == [("completed", 2, new, turns * BATCH)]
    measured(f"{turns * BATCH} tasks taken over, {tried} stale outcomes tried, {accepted} accepted")
    assert accepted == 0
    assert turns * BATCH >= 10_000


def test_an_outcome_that_races_with_the_recovery_is_either_the_last_word_or_none(
    long_up: str, measured: Say, lasting: Lasting
) -> None:
    """Each task is either recorded by its old owner or taken over by the new one, never both, never neither."""
    turns, won = round(lasting(20)), 0
    with psycopg.connect(long_up, autocommit=True) as conn, psycopg.connect(long_up, autocommit=True) as stale:
        new = make_worker(conn, lease=3600.0)
        for verb in islice(cycle(("completion", "burial", "deletion")), turns):
            enqueue_batch(conn)
            old = make_worker(conn, lease=0.5)
            tasks = claim_all(stale, old)
            bury(conn, old)
            moved: set[int] = set()
            parts = [tasks[place : place + 25] for place in range(0, BATCH, 25)]
            late = threading.Thread(
                target=lambda parts=parts, moved=moved, verb=verb: [moved.update(VERBS[verb](stale, p)) for p in parts]
            )
            late.start()
            taken: set[int] = set()
            while late.is_alive() or len(moved | taken) < BATCH:
                recover(conn, "load", grace=1.0, batch=25)
                again = claim_all(conn, new)
                taken |= {task.id for task in again}
                if again:
                    complete(conn, *again)
            late.join()
            assert not moved & taken
            assert moved | taken == {task.id for task in tasks}
            won += len(moved)
    measured(f"{turns * BATCH} outcomes raced with a recovery, {won} were in time, none counted twice")
    assert 0 < won < turns * BATCH
