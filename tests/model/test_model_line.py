"""The line against its model: hypothesis chooses the steps, the real tables must say what the book says after each.

Steps are whole transactions, since each of them takes its locks in one order; what happens inside two at once is
tests/race. PGQ_MODEL=500 tries more.
"""

from __future__ import annotations

import copy
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from factory import clock, make_worker
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from line_bed import AHEAD, PAST, QUEUES, Bed, columns
from line_book import OPEN, Book
from stages import begin, claim, keys, recover

from pgq.db import Call, run
from pgq.enqueue import one
from pgq.errors import UniqueKeyTaken, UnknownTask
from pgq.options import Options
from pgq.settle import Settler
from pgq.task import Cancelled, Dead, Done, Failed, HandBack, Retry, Settled, Snooze, Task, Throttled, Written, judge

QUEUE = st.sampled_from(sorted(QUEUES))
WHICH = st.integers(0, 1)
COMMITS = st.sampled_from([True, True, True, False])
OUTCOMES = st.sampled_from([
    Done(), Done(), Done(), Failed("e"), Retry(0), Snooze(0), Snooze(86400 * 3), Dead("d"), Cancelled(), HandBack(),
    Throttled(1.0, "customer:acme"), Throttled(4000.0, "customer:acme"),
])  # fmt: skip
CONFLICTS = st.sampled_from(["raise", "skip", "return_existing", "replace"])
FAR = timedelta(days=AHEAD + 2)


class Line(RuleBasedStateMachine):
    """Enqueue, claim, begin, settle, recover, steer, sleep, and the days of the table."""

    bed: Bed
    tasks = Bundle("tasks")
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.bed.reset()
        self.book = Book(QUEUES)
        self.workers = [self.hire(), self.hire()]
        self.open: list[tuple[int, str, bool]] = []  # id, queue, whether it found the bell free
        self.asleep: dict[int, str] = {}  # which sleeper, at which queue
        self.dropped: set[int] = set()
        self.settler = Settler(0, QUEUES.__getitem__)
        self.given: list[Task] = []  # every claim there ever was

    @initialize(target=tasks)
    def some_tasks_wait(self) -> Any:
        added = []
        for queue in ("keeps", "keeps", "keeps", "forgets"):
            with self.step(rings=queue) as book:
                ((task_id, _),) = run(self.bed.conn, one(queue, "work", "{}", Options()))
                book.enqueue(task_id, queue, None)
                added.append(task_id)
        self.take(0, "keeps", 2, far=False, commits=True)
        self.take(1, "forgets", 1, far=False, commits=True)
        return multiple(*added)

    def hire(self) -> int:
        worker = make_worker(self.bed.conn)
        self.book.workers[worker] = True
        return worker

    @contextmanager
    def step(self, *, commits: bool = True, rings: str | None = None) -> Iterator[Book]:
        """Do one step in both worlds; it rings for a queue exactly where somebody sleeps at it."""
        before = self.book
        self.book = copy.deepcopy(before)
        with self.bed.step(commits=commits):
            yield self.book
        self.book = self.book if commits else before
        self.hear({rings} & set(self.asleep.values()) if commits else set())

    def hear(self, told: set[str]) -> None:
        heard = self.bed.rings()
        assert heard == told
        for sleeper, queue in list(self.asleep.items()):
            if queue in heard:
                self.bed.rouse(sleeper, queue)
                del self.asleep[sleeper]

    @rule(target=tasks, queue=QUEUE, priority=st.integers(0, 2), far=st.booleans(), commits=COMMITS)
    def enqueue(self, queue: str, priority: int, *, far: bool, commits: bool) -> int:
        due = clock(self.bed.conn) + timedelta(days=AHEAD) if far else None
        with self.step(commits=commits, rings=queue) as book:
            ((task_id, _),) = run(self.bed.conn, one(queue, "work", "{}", Options(priority=priority, scheduled_at=due)))
            book.enqueue(task_id, queue, None)
        return task_id

    @rule(target=tasks, queue=QUEUE, key=st.sampled_from("ab"), conflict=CONFLICTS)
    def enqueue_unique(self, queue: str, key: str, conflict: str) -> Any:
        holder = self.book.holder(queue, key)
        call = one(queue, "work", "{}", Options(unique_key=key, on_conflict=conflict))
        if holder and conflict == "raise":
            with pytest.raises(UniqueKeyTaken):
                run(self.bed.conn, call)
            return multiple()
        silent = holder is not None and conflict in {"skip", "return_existing"}
        with self.step(rings=None if silent else queue) as book:
            ((task_id,),) = run(self.bed.conn, call)
            if holder is None or (conflict == "replace" and holder.status == "processing"):
                assert task_id not in book.tasks
                book.enqueue(task_id, queue, key)
                return task_id
            assert task_id == (None if conflict == "skip" else holder.id)
            if conflict == "replace":
                book.replace(book.tasks[holder.id])
        return multiple()

    @rule(queue=QUEUE)
    def enqueue_in_an_open_transaction(self, queue: str) -> None:
        ((task_id, rang),) = run(self.bed.clerk, one(queue, "work", "{}", Options()))
        assert rang == (queue in self.asleep.values() and (queue, False) not in [each[1:] for each in self.open])
        self.open.append((task_id, queue, rang))

    @rule(target=tasks, commits=COMMITS)
    def end_the_open_transaction(self, *, commits: bool) -> Any:
        (self.bed.clerk.commit if commits else self.bed.clerk.rollback)()
        added, self.open = self.open if commits else [], []
        for task_id, queue, _ in added:
            self.book.enqueue(task_id, queue, None)
        self.hear({queue for _, queue, rang in added if rang})
        return multiple(*[task_id for task_id, _, _ in added])

    @rule(target=claims, which=WHICH, queue=QUEUE, count=st.integers(1, 3), far=st.booleans(), commits=COMMITS)
    def claim(self, which: int, queue: str, count: int, *, far: bool, commits: bool) -> Any:
        return multiple(*self.take(which, queue, count, far=far, commits=commits))

    def take(self, which: int, queue: str, count: int, *, far: bool, commits: bool) -> list[Task]:
        worker, now = self.workers[which], clock(self.bed.conn) + (FAR if far else timedelta())
        ripe = sorted(
            (row.priority, row.scheduled_at, task_id)
            for task_id, row in self.bed.rows().items()
            if row.entry.queue == queue and row.entry.status == "pending" and row.scheduled_at <= now
        )
        best = [] if queue in self.book.paused or worker not in self.book.workers else ripe[:count]
        lease = uuid.uuid4()
        with self.step(commits=commits) as book:
            taken = claim(self.bed.conn, worker, queue=queue, count=count, now=now, lease=lease)
            assert [(task.priority, task.scheduled_at, task.id) for task in taken] == best
            for task in taken:
                book.claim(task.id, lease, worker)
        self.given += taken
        return taken

    @precondition(lambda self: self.given)
    @rule(place=st.integers(0, 99))
    def a_worker_completes(self, place: int) -> None:
        self.write_outcome(self.given[place % len(self.given)], Done(), commits=True)

    @precondition(lambda self: self.given)
    @rule(place=st.integers(0, 99), outcome=OUTCOMES)
    def a_worker_settles(self, place: int, outcome: Written) -> None:
        self.write_outcome(self.given[place % len(self.given)], outcome, commits=True)

    @property
    def stale(self) -> list[Task]:
        """Claims that have lost their lease, or whose transaction was lost."""
        return [task for task in self.given if self.book.under(task.id, task.lease) is None]

    @precondition(lambda self: self.stale)
    @rule(place=st.integers(0, 99), outcome=OUTCOMES)
    def a_worker_that_lost_its_lease_settles(self, place: int, outcome: Written) -> None:
        self.write_outcome(self.stale[place % len(self.stale)], outcome, commits=True)

    @rule(task=claims, suspect=st.booleans())
    def begin(self, task: Task, *, suspect: bool) -> None:
        with self.step() as book:
            mine = book.under(task.id, task.lease)
            may = mine is not None and book.begin(mine, suspect=suspect)
            assert begin(self.bed.conn, task, suspect=suspect, late=1e9) == ([task.id] if may else [])

    @rule(task=claims, outcome=OUTCOMES, commits=COMMITS)
    def settle(self, task: Task, outcome: Written, *, commits: bool) -> None:
        self.write_outcome(task, outcome, commits=commits)

    def write_outcome(self, task: Task, outcome: Written, *, commits: bool) -> None:
        mine = self.book.under(task.id, task.lease)
        settled = judge(task, QUEUES[task.queue], outcome)
        rings = mine and not mine.asked and isinstance(outcome, HandBack)
        with self.step(commits=commits, rings=task.queue if rings else None) as book:
            ((call, _),) = self.settler.calls([(task, settled)])
            moved = [row[0] for row in run(self.bed.conn, call)]
            assert moved == ([task.id] if mine else [])
            if mine:
                self.write(book, task, settled)

    def write(self, book: Book, task: Task, settled: Settled) -> None:
        mine = book.tasks[task.id]
        if settled.status == "completed":
            book.complete(mine)
        else:
            book.settle(mine, settled)

    @rule(task=claims, commits=COMMITS)
    def complete_in_its_own_transaction(self, task: Task, *, commits: bool) -> None:
        with self.step(commits=commits) as book:
            values = {"queue": task.queue, "id": task.id, "scheduled_at": task.scheduled_at, "lease": task.lease}
            moved = run(self.bed.conn, Call("complete_in", values))
            if mine := book.under(task.id, task.lease):
                book.complete(mine)
            assert moved == ([(task.id,)] if mine else [])

    @rule(which=WHICH, how=st.sampled_from(["is gone", "is silent"]))
    def a_worker_dies_and_another_comes(self, which: int, how: str) -> None:
        worker = self.workers[which]
        if how == "is gone":
            self.bed.conn.execute("delete from pgq.workers where id = %s", (worker,))
            del self.book.workers[worker]
        else:
            silent = "update pgq.workers set heartbeat_at = '-infinity', lease = 1e-9 where id = %s"
            self.bed.conn.execute(silent, (worker,))
            self.book.workers[worker] = False
        self.workers[which] = self.hire()

    @rule(task=claims)
    def a_run_hangs(self, task: Task) -> None:
        self.bed.conn.execute(
            "update pgq.tasks set started_at = started_at - interval '1 day' where id = %s and lease = %s",
            (task.id, task.lease),
        )

    @rule(queue=QUEUE, commits=COMMITS)
    def recover(self, queue: str, *, commits: bool) -> None:
        now = clock(self.bed.conn)
        rows = self.bed.rows().items()
        late = {task_id for task_id, row in rows if row.entry.lease and row.started_at < now - timedelta(hours=1)}
        expected = copy.deepcopy(self.book).recover(queue, late.__contains__)
        with self.step(commits=commits, rings=queue if "pending" in expected.values() else None) as book:
            assert recover(self.bed.conn, queue) == book.recover(queue, late.__contains__)
            gone = {row[0] for row in run(self.bed.conn, Call("prune_workers", {}))} if queue == "keeps" else set()
            for worker in gone:
                assert book.workers.pop(worker) is False

    @rule(task_id=tasks, commits=COMMITS)
    def cancel(self, task_id: int, *, commits: bool) -> None:
        if task_id not in self.book.tasks:
            with pytest.raises(UnknownTask):
                run(self.bed.conn, Call("cancel_task", {"id": task_id, "actor": None}))
            return
        with self.step(commits=commits) as book:
            said = run(self.bed.conn, Call("cancel_task", {"id": task_id, "actor": None}))
            assert said == [(book.cancel(book.tasks[task_id]),)]

    @rule(task_id=tasks)
    def retry(self, task_id: int) -> None:
        call = Call("retry_task", {"id": task_id, "actor": None})
        task = copy.deepcopy(self.book).tasks.get(task_id)
        if task is None or (task.lease is None and not copy.deepcopy(self.book).start_over(task)):
            with pytest.raises(UnknownTask if task is None else UniqueKeyTaken):
                run(self.bed.conn, call)
            return
        with self.step(rings=None if task.lease else task.queue) as book:
            ((said,),) = run(self.bed.conn, call)
            if task.lease is None:
                book.start_over(book.tasks[task_id])
            assert said == book.tasks[task_id].status

    @rule(queue=QUEUE, purges=st.booleans(), commits=COMMITS)
    def replay_or_purge_the_dead(self, queue: str, *, purges: bool, commits: bool) -> None:
        picked = self.bed.conn.execute(
            "select id, scheduled_at, queue, completed_at from pgq.tasks where status = 'dead' and queue = %s"
            " order by completed_at, id", (queue,),
        ).fetchall()  # fmt: skip
        values = columns(picked, "ids", "scheduled", "queues", "died")
        tried = copy.deepcopy(self.book)
        starts = not purges and any(tried.start_over(tried.tasks[row[0]]) for row in picked)
        with self.step(commits=commits, rings=queue if starts else None) as book:
            if purges:
                assert {row[0] for row in run(self.bed.conn, Call("purge_dead", values))} == set(values["ids"])
                book.forget(values["ids"])
            else:
                rows = run(self.bed.conn, Call("replay_dead", {**values, "base": None, "done": 0, "step": 0.0}))
                started = {row[0]: row[1] for row in rows}
                assert started == {task_id: book.start_over(book.tasks[task_id]) for task_id in values["ids"]}

    @rule(queue=QUEUE, pauses=st.booleans())
    def pause_or_resume(self, queue: str, *, pauses: bool) -> None:
        run(self.bed.conn, Call("pause_queue" if pauses else "resume_queue", {"queue": queue, "actor": None}))
        (self.book.paused.add if pauses else self.book.paused.discard)(queue)

    @rule(sleeper=st.integers(0, 1), queue=QUEUE)
    def fall_asleep(self, sleeper: int, queue: str) -> None:
        if sleeper in self.asleep:
            return
        state = self.bed.doze(sleeper, queue)
        in_flight = any(lane == queue and not rang for _, lane, rang in self.open)
        assert state == ("follower" if queue in self.asleep.values() else "busy" if in_flight else "holder")
        if state != "busy":
            self.asleep[sleeper] = queue

    @rule(sleeper=st.integers(0, 1))
    def wake_up_by_itself(self, sleeper: int) -> None:
        if queue := self.asleep.pop(sleeper, None):
            if queue in self.asleep.values():  # the bell goes: whoever follows is told
                self.bed.rouse(1 - sleeper, queue)
                del self.asleep[1 - sleeper]
            self.bed.rouse(sleeper, queue)

    @rule(task_id=tasks, day=st.sampled_from(PAST))
    def a_task_grows_old(self, task_id: int, day: int) -> None:
        """As when it was enqueued on that day; also by a transaction that committed after the day was sealed."""
        mine = self.book.tasks.get(task_id)
        if mine and mine.lease is None and day not in self.dropped:
            query = "update pgq.tasks set scheduled_at = clock_timestamp() + %s * interval '1 day' where id = %s"
            self.bed.conn.execute(query, (day, task_id))

    @rule(day=st.sampled_from(PAST))
    def seal(self, day: int) -> None:
        leaf = self.bed.day(day)
        if day in self.dropped:
            return
        sealed = self.bed.conn.execute("select sealed_at from pgq.partitions where name = %s", (leaf,)).fetchone()[0]
        busy = any(row.leaf == leaf and row.entry.status in OPEN for row in self.bed.rows().values())
        with self.step():
            done = self.bed.conn.execute("select pgq.seal_partition(%s)", (leaf,)).fetchone()[0]
            assert done == (not busy and sealed is None)

    @rule(day=st.sampled_from(PAST), carries=st.booleans(), commits=COMMITS)
    def drop(self, day: int, *, carries: bool, commits: bool) -> None:
        """As upkeep does, which drops sealed days only."""
        leaf = self.bed.day(day)
        query = "select from pgq.partitions where name = %s and sealed_at is not null"
        if not self.bed.conn.execute(query, (leaf,)).fetchone() or (self.open and commits):
            return
        inside = {i: row.entry.status for i, row in self.bed.rows().items() if row.leaf == leaf}
        carried = {i for i, status in inside.items() if status in {"dead", "pending"}} if carries else set()
        kept = {i for i, status in inside.items() if status in OPEN | {"dead"}} - carried
        try:
            with self.step(commits=commits) as book:
                if carries:
                    moved = self.bed.conn.execute("select pgq.carry_forward(%s, 100)", (leaf,)).fetchone()[0]
                    assert moved == len(carried)
                assert self.bed.conn.execute("select pgq.drop_partition(%s)", (leaf,)).fetchone()[0] == (not kept)
                book.forget(set() if kept else set(inside) - carried)
        except psycopg.errors.LockNotAvailable:
            assert self.open, "nobody else holds a lock"
        else:
            self.dropped |= {day} if commits and not kept else set()

    @rule()
    def make_the_day_ahead(self) -> None:
        """Tasks that wait for it in the default partition move, those that are being processed too."""
        if not self.open:
            with self.step():
                day = "select pgq.make_partition((clock_timestamp() at time zone 'UTC')::date + %s)"
                self.bed.conn.execute(day, (AHEAD,))

    @invariant()
    def the_tables_say_what_the_book_says(self) -> None:
        self.bed.check(self.book)

    @invariant()
    def nothing_is_beyond_its_attempts(self) -> None:
        for task in self.book.tasks.values():
            assert 0 <= task.attempts <= task.most, task
            assert task.status != "pending" or task.attempts < task.most, task
            assert (task.lease is not None) == (task.status == "processing"), task

    @invariant()
    def a_unique_key_is_held_by_a_task_that_lives(self) -> None:
        for (queue, key), task_id in self.book.keys.items():
            task = self.book.tasks[task_id]
            assert (task.queue, task.key) == (queue, key)
            assert task.status in OPEN


@pytest.fixture
def bed(direct_dsn: str) -> Iterator[Bed]:
    bed = Bed(direct_dsn)
    yield bed
    bed.close()


@pytest.mark.timeout(1800)
def test_the_tables_are_what_the_model_says_after_every_step(bed: Bed) -> None:
    Line.bed = bed
    run_state_machine_as_test(
        Line,
        settings=settings(
            max_examples=int(os.environ.get("PGQ_MODEL", "40")), stateful_step_count=40, deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


def test_the_model_refuses_a_lease_that_was_lost(bed: Bed) -> None:
    bed.reset()
    worker = make_worker(bed.conn)
    run(bed.conn, one("keeps", "work", "{}", Options()))
    (task,) = claim(bed.conn, worker, queue="keeps", now=clock(bed.conn))
    bed.conn.execute("update pgq.tasks set lease = gen_random_uuid()")
    assert run(bed.conn, Call("complete", keys([task]))) == []
