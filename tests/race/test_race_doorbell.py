"""The doorbell at the level of its statements: in every interleaving a task is seen, or rung for, or not slept over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import permutations
from time import monotonic
from typing import Any

import psycopg
import pytest
from factory import QUEUE, clock, held, make_queue, make_task, make_worker
from interleave import wait_until
from stages import claim, settle

from pgq.config import Config
from pgq.connect import aconnect
from pgq.db import Call, run
from pgq.doorbell import Doorbell
from pgq.enqueue import many, one
from pgq.gate import Gate, own_limit
from pgq.lane import Board, Lane
from pgq.line import Line, read_settings
from pgq.member import Member
from pgq.options import Options
from pgq.permits import Permits
from pgq.task import Settled

OPTIONS = Options()


def orders(*sequences: str) -> list[tuple[str, ...]]:
    """Return every interleaving of the sequences, each given as its steps in order."""
    parts = [sequence.split() for sequence in sequences]
    marks = [place for place, part in enumerate(parts) for _ in part]
    return [
        tuple(parts[i][mixed[:n].count(i)] for n, i in enumerate(mixed)) for mixed in sorted(set(permutations(marks)))
    ]


def by_statement(conn: psycopg.Connection) -> None:
    run(conn, one(QUEUE, "work", "{}", OPTIONS))


def by_many(conn: psycopg.Connection) -> None:
    run(conn, many(QUEUE, "work", ["{}"] * 3, OPTIONS))


def by_function(conn: psycopg.Connection) -> None:
    conn.execute("select pgq.enqueue('jobs', 'work')")


def by_retry(conn: psycopg.Connection) -> None:
    conn.execute("select pgq.retry(id) from pgq.tasks where status = 'dead'")


class Sleeper:
    """A worker that goes to sleep: one session for the bell and the look, one that listens."""

    def __init__(self, dsn: str, bell: int, worker_id: int) -> None:
        self.conn = psycopg.connect(dsn, autocommit=True)
        self.ear = psycopg.connect(dsn, autocommit=True)
        self.ear.execute("listen pgq")
        self.bell = bell
        self.worker_id = worker_id
        self.state = None
        self.seen = 0

    def doze(self) -> None:
        self.rings()  # what rang before is no reason to stay awake
        ((self.state,),) = run(self.conn, Call("doze", {"bell": self.bell}))

    def look(self) -> None:
        self.seen = len(claim(self.conn, self.worker_id))

    def rouse(self, *, tell: bool) -> None:
        run(self.conn, Call("rouse", {"bell": self.bell, "queue": QUEUE, "tell": tell}))

    def rings(self) -> list[str]:
        """Return what was heard so far: a note sent now comes after all that was committed before."""
        self.ear.execute("select pg_notify('pgq', 'mark')")
        notes = []
        for note in self.ear.notifies(timeout=5):
            if note.payload == "mark" and note.pid == self.ear.info.backend_pid:
                break
            notes.append(note.payload)
        return [note for note in notes if note.startswith("ring:")]

    def knows(self) -> bool:
        """Return whether the task was seen, or rung for, or this worker does not sleep at all."""
        return self.seen > 0 or self.state in {None, "busy"} or self.rings() != []

    def close(self) -> None:
        self.conn.close()
        self.ear.close()


@pytest.fixture
def bell(conn: psycopg.Connection) -> int:
    make_queue(conn)
    return conn.execute("select bell from pgq.queues").fetchone()[0]


@pytest.fixture
def sleepers(direct_dsn: str, conn: psycopg.Connection, bell: int) -> Iterator[list[Sleeper]]:
    worker = make_worker(conn)
    sleepers = [Sleeper(direct_dsn, bell, worker) for _ in range(2)]
    yield sleepers
    for sleeper in sleepers:
        sleeper.close()


@pytest.mark.parametrize("enqueue", [by_statement, by_many, by_function, by_retry])
@pytest.mark.parametrize("order", orders("doze look", "enqueue commit"), ids=" ".join)
def test_no_task_stays_unknown_to_a_worker_that_falls_asleep(
    conn: psycopg.Connection,
    ann: psycopg.Connection,
    sleepers: list[Sleeper],
    order: tuple[str, ...],
    enqueue: Callable[..., Any],
) -> None:
    make_task(conn, status="dead")
    sleeper = sleepers[0]
    steps = {"doze": sleeper.doze, "look": sleeper.look, "enqueue": lambda: enqueue(ann), "commit": ann.commit}
    for step in order:
        steps[step]()
    assert sleeper.knows()


@pytest.mark.parametrize("order", orders("doze look", "enqueue commit", "rouse"), ids=" ".join)
def test_no_task_stays_unknown_to_a_second_sleeper_whatever_the_first_does(
    ann: psycopg.Connection, sleepers: list[Sleeper], order: tuple[str, ...]
) -> None:
    first, second = sleepers
    first.doze()
    first.look()
    assert first.state == "holder"
    steps = {
        "doze": second.doze,
        "look": second.look,
        "enqueue": lambda: by_statement(ann),
        "commit": ann.commit,
        "rouse": lambda: first.rouse(tell=True),
    }
    for step in order:
        steps[step]()
    assert second.knows()


def test_an_enqueue_rings_only_if_somebody_sleeps(conn: psycopg.Connection, sleepers: list[Sleeper]) -> None:
    sleeper = sleepers[0]
    by_statement(conn)
    assert sleeper.rings() == []
    sleeper.doze()
    by_statement(conn)
    assert sleeper.rings() == ["ring:jobs"]
    sleeper.rouse(tell=False)
    by_statement(conn)
    assert sleeper.rings() == []


def test_a_bell_is_one_queues_own(conn: psycopg.Connection, sleepers: list[Sleeper]) -> None:
    make_queue(conn, "other")
    sleepers[0].doze()
    conn.execute("select pgq.enqueue('other', 'work')")
    assert sleepers[0].rings() == []


def test_many_tasks_ring_once(conn: psycopg.Connection, sleepers: list[Sleeper]) -> None:
    sleepers[0].doze()
    by_many(conn)
    assert sleepers[0].rings() == ["ring:jobs"]


@pytest.mark.parametrize(
    ("settled", "rings"),
    [
        (Settled("pending", refund=1), ["ring:jobs"]),  # handed back
        (Settled("pending", refund=1, after=1.0), []),  # snoozed, or sent away by a limit
        (Settled("pending", after=1.0, error="e"), []),  # failed, to be tried again
        (Settled("dead", error="e"), []),
    ],
)
def test_of_what_goes_back_only_that_rings_which_others_may_take_at_once(
    conn: psycopg.Connection, sleepers: list[Sleeper], settled: Settled, rings: list[str]
) -> None:
    task = held(conn, make_task(conn, status="processing"))
    sleepers[0].doze()
    settle(conn, (task, settled))
    assert sleepers[0].rings() == rings


def test_an_enqueue_that_is_rolled_back_rings_nobody(ann: psycopg.Connection, sleepers: list[Sleeper]) -> None:
    sleepers[0].doze()
    by_statement(ann)
    ann.rollback()
    assert sleepers[0].rings() == []


def test_an_enqueue_in_a_savepoint_that_is_rolled_back_does_not_silence_the_next(
    ann: psycopg.Connection, sleepers: list[Sleeper]
) -> None:
    sleepers[0].doze()
    with ann.transaction(force_rollback=True):
        by_statement(ann)
    by_statement(ann)
    ann.commit()
    assert sleepers[0].rings() == ["ring:jobs"]


def test_while_an_enqueue_has_not_committed_nobody_falls_asleep(
    ann: psycopg.Connection, sleepers: list[Sleeper]
) -> None:
    first, second = sleepers
    by_statement(ann)
    first.doze()
    second.doze()
    assert (first.state, second.state) == ("busy", "busy")
    ann.commit()
    first.doze()
    assert first.state == "holder"


def test_a_worker_that_found_an_enqueue_in_flight_holds_nothing_that_would_make_it_ring(
    conn: psycopg.Connection, ann: psycopg.Connection, sleepers: list[Sleeper]
) -> None:
    by_statement(ann)
    sleepers[0].doze()
    held = conn.execute(
        "select count(*) from pg_locks where pid = %s and locktype = 'advisory'", (sleepers[0].conn.info.backend_pid,)
    )
    assert held.fetchone() == (0,)


def test_the_second_sleeper_follows_the_first(sleepers: list[Sleeper]) -> None:
    for sleeper in sleepers:
        sleeper.doze()
    assert [sleeper.state for sleeper in sleepers] == ["holder", "follower"]


def test_a_ring_reaches_every_sleeper(conn: psycopg.Connection, sleepers: list[Sleeper]) -> None:
    for sleeper in sleepers:
        sleeper.doze()
    by_statement(conn)
    assert [sleeper.rings() for sleeper in sleepers] == [["ring:jobs"], ["ring:jobs"]]


def test_a_sleeper_that_dies_with_the_bell_drops_it(conn: psycopg.Connection, sleepers: list[Sleeper]) -> None:
    first, second = sleepers
    first.doze()
    conn.execute("select pg_terminate_backend(%s)", (first.conn.info.backend_pid,))
    query = "select count(*) from pg_locks where locktype = 'advisory' and pid = %s"
    wait_until(lambda: conn.execute(query, (first.conn.info.backend_pid,)).fetchone() == (0,))
    second.doze()
    assert second.state == "holder"


def test_letting_go_of_a_bell_tells_the_other_sleepers_only_when_asked_to(sleepers: list[Sleeper]) -> None:
    first, second = sleepers
    for tell in (False, True):
        first.doze()
        second.doze()
        first.rouse(tell=tell)
        assert second.rings() == (["ring:jobs"] if tell else [])


async def a_line(dsn: str, aconn: psycopg.AsyncConnection, *, bell_works: bool) -> Any:
    config = Config(dsn=dsn, concurrency=4, poll=30.0)
    member = Member(config, [QUEUE])
    await member.join(aconn)
    (settings,) = await read_settings(aconn, [QUEUE])
    lane = Lane(settings, ["work"], Gate(own_limit("pgq", settings)), 4, 100)
    board = Board([lane], 4)
    permits = Permits(config, board, lambda: member.id, lambda *_: None)
    return Line(config, board, member, lambda: bell_works, list, permits), lane


def bells_held(conn: psycopg.Connection) -> int:
    query = "select count(*) from pg_locks where locktype = 'advisory' and classid = 7366513"
    return conn.execute(query).fetchone()[0]


@pytest.mark.usefixtures("bell")
@pytest.mark.parametrize("bell_works", [True, False])
async def test_nobody_takes_the_bell_who_would_not_hear_it(
    conn: psycopg.Connection, dsn: str, aconn: psycopg.AsyncConnection, bell_works: bool
) -> None:
    line, lane = await a_line(dsn, aconn, bell_works=bell_works)
    while lane.look_at == 0.0:
        await line.turn(aconn)
    assert bells_held(conn) == int(bell_works)


@pytest.mark.usefixtures("bell")
async def test_a_task_that_committed_late_is_found_at_once_after_its_ring(
    ann: psycopg.Connection, dsn: str, aconn: psycopg.AsyncConnection
) -> None:
    line, lane = await a_line(dsn, aconn, bell_works=True)
    by_statement(ann)
    ann.execute("update pgq.tasks set scheduled_at = scheduled_at - interval '1 minute'")
    await line.turn(aconn)  # the cursor is beyond the task by now
    ann.commit()
    for _ in range(3):
        line.stir(QUEUE)
        await line.turn(aconn)
    assert len(lane.buffer) == 1


@pytest.mark.usefixtures("bell")
async def test_a_worker_keeps_its_bell_for_a_task_now_and_then_and_lets_go_of_it_when_work_keeps_coming(
    conn: psycopg.Connection, dsn: str, aconn: psycopg.AsyncConnection
) -> None:
    line, lane = await a_line(dsn, aconn, bell_works=True)
    while lane.look_at == 0.0:
        await line.turn(aconn)
    by_statement(conn)
    line.stir(QUEUE)
    assert await line.turn(aconn) == 1
    assert (lane.holds_bell, bells_held(conn)) == (True, 1)
    line.stir(QUEUE)  # at once again
    lane.rung_at = monotonic()
    await line.turn(aconn)
    assert (lane.holds_bell, bells_held(conn)) == (False, 0)


@pytest.mark.usefixtures("bell")
async def test_a_worker_that_can_take_no_more_passes_its_bell_on(
    conn: psycopg.Connection, dsn: str, aconn: psycopg.AsyncConnection
) -> None:
    line, lane = await a_line(dsn, aconn, bell_works=True)
    while lane.look_at == 0.0:
        await line.turn(aconn)
    run(conn, many(QUEUE, "work", ["{}"] * 4, OPTIONS))
    line.stir(QUEUE)
    assert await line.turn(aconn) == 4
    assert bells_held(conn) == 1
    for _ in range(4):
        lane.take()
    line.reload()  # so that it waits for nothing
    await line.turn(aconn)
    assert (lane.holds_bell, bells_held(conn)) == (False, 0)


@pytest.mark.usefixtures("bell")
async def test_whoever_hears_of_changed_settings_looks_from_the_beginning(
    conn: psycopg.Connection, dsn: str, aconn: psycopg.AsyncConnection
) -> None:
    line, lane = await a_line(dsn, aconn, bell_works=True)
    lane.cursor.floors = [clock(conn)] * 11
    make_task(conn, due=-60)
    line.reload()
    while not lane.buffer and lane.look_at == 0.0:
        await line.turn(aconn)
    assert len(lane.buffer) == 1


async def test_a_listener_behind_a_pooler_says_so_and_hears_nothing(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    heard = []
    doorbell = Doorbell(dsn, lambda *note: heard.append(note))
    async with await aconnect(dsn, "listen") as conn:
        conn.prepare_threshold = None  # what a pooler in between comes down to
        listening = asyncio.create_task(doorbell.listen(conn))
        async with asyncio.timeout(10):
            while "LISTEN does not work" not in caplog.text:  # noqa: ASYNC110 - a log record is no event
                await asyncio.sleep(0.01)
        assert (doorbell.works, heard) == (False, [])
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_a_listener_hears_what_was_sent_and_looks_once_when_it_begins(
    conn: psycopg.Connection, direct_dsn: str
) -> None:
    heard = asyncio.Queue()
    doorbell = Doorbell(direct_dsn, lambda *note: heard.put_nowait(note))
    async with await aconnect(direct_dsn, "listen") as listener:
        listening = asyncio.create_task(doorbell.listen(listener))
        async with asyncio.timeout(10):
            assert [await heard.get(), await heard.get()] == [("ring", ""), ("settings", "")]
            assert doorbell.works
            conn.execute("select pg_notify('pgq', 'cancel:17')")
            assert await heard.get() == ("cancel", "17")
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    assert not doorbell.works
