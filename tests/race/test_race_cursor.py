"""The cursor's hazards on the real server: what lies below a floor is stepped over, and found by the next sweep."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from factory import QUEUE, clock, make_queue, make_task, make_worker
from pooler import UNPREPARED
from stages import claim as claim_by_hand
from stages import settle

from pgq.claim import Want, claim
from pgq.cursor import BEGINNING, LAG, Clock
from pgq.db import Call, arun
from pgq.gate import Gate, own_limit
from pgq.lane import Lane
from pgq.line import read_settings
from pgq.task import Settled


class Looker:
    """One worker's claims of one queue by its cursor."""

    def __init__(self, conn: psycopg.Connection, lane: Lane, worker_id: int | None) -> None:
        self.conn, self.lane, self.worker_id, self.clock = conn, lane, worker_id, Clock()

    async def look(self, count: int = 10, *, sweep: bool = False) -> list[int]:
        ((now,),) = await arun(self.conn, Call("clock", {}))
        self.clock.set(now)
        (found,) = await claim(self.conn, self.worker_id, [Want(self.lane, count, sweep=sweep)], self.clock)
        return [task.id for task in found.tasks]


@pytest.fixture
async def looker(conn: psycopg.Connection, aconn: psycopg.AsyncConnection) -> Any:
    make_queue(conn)
    (settings,) = await read_settings(aconn, [QUEUE])
    return Looker(aconn, Lane(settings, ["work"], Gate(own_limit("pgq", settings)), 10, 100), make_worker(conn))


async def test_a_task_that_committed_later_than_the_lag_is_found_by_the_sweep(
    ann: psycopg.Connection, looker: Looker
) -> None:
    task_id = make_task(ann, due=-1)
    assert await looker.look() == []
    ann.commit()
    assert await looker.look() == []
    assert await looker.look(sweep=True) == [task_id]


async def test_a_task_that_committed_within_the_lag_is_found_by_the_cursor(
    conn: psycopg.Connection, looker: Looker
) -> None:
    await looker.look()
    floor = looker.lane.cursor.floors[5]
    task_id = make_task(conn, scheduled_at=floor + LAG / 2)
    assert await looker.look() == [task_id]


async def test_a_row_handed_back_at_its_old_due_time_is_found_by_the_sweep(
    conn: psycopg.Connection, looker: Looker
) -> None:
    task_id = make_task(conn, due=-60)
    (task,) = claim_by_hand(conn, looker.worker_id)
    assert await looker.look() == []
    settle(conn, (task, Settled("pending", refund=1)))
    assert await looker.look() == []
    assert await looker.look(sweep=True) == [task_id]


async def test_a_claim_of_another_worker_that_is_rolled_back_is_found_by_the_sweep(
    conn: psycopg.Connection, ann: psycopg.Connection, looker: Looker
) -> None:
    task_id = make_task(conn, due=-60)
    claim_by_hand(ann, looker.worker_id)
    assert await looker.look() == []
    ann.rollback()
    assert await looker.look() == []
    assert await looker.look(sweep=True) == [task_id]


async def test_what_waits_behind_a_full_claim_is_found_by_the_cursor(conn: psycopg.Connection, looker: Looker) -> None:
    made = [make_task(conn, due=due, priority=priority) for due, priority in [(-9, 2), (-8, 2), (-7, 2), (-9, 6)]]
    assert await looker.look(2) == made[:2]
    assert await looker.look(2) == made[2:]


async def test_a_more_urgent_task_that_arrives_late_is_found_by_the_cursor(
    conn: psycopg.Connection, looker: Looker
) -> None:
    for _ in range(5):
        make_task(conn, due=-60, priority=8)
    await looker.look(3)
    urgent = make_task(conn, priority=0)
    assert (await looker.look(3))[0] == urgent


async def test_nothing_is_lost_when_the_clock_of_the_database_steps_back(
    conn: psycopg.Connection, looker: Looker
) -> None:
    looker.clock.set(clock(conn) + timedelta(hours=1))
    (found,) = await claim(looker.conn, looker.worker_id, [Want(looker.lane, 10)], looker.clock)
    assert found.tasks == []
    task_id = make_task(conn)
    assert looker.clock.set(clock(conn)) is True
    looker.lane.cursor.reset()
    assert await looker.look() == [task_id]


async def test_a_sweep_starts_from_the_beginning_of_time(conn: psycopg.Connection, looker: Looker) -> None:
    task_id = make_task(conn, scheduled_at=BEGINNING + timedelta(days=1))
    looker.lane.cursor.floors = [clock(conn)] * 11
    assert await looker.look() == []
    assert await looker.look(sweep=True) == [task_id]


async def test_a_backlog_below_the_floors_is_worked_off_after_one_sweep(
    conn: psycopg.Connection, looker: Looker
) -> None:
    """As after a pause: a claim under way met a queue that was paused, and took that for nothing left below now."""
    made = [make_task(conn, due=-60) for _ in range(6)]
    conn.execute("select pgq.pause(%s)", (QUEUE,))
    assert await looker.look(2) == []
    conn.execute("select pgq.resume(%s)", (QUEUE,))
    assert await looker.look(2) == []
    assert [*await looker.look(2, sweep=True), *await looker.look(2), *await looker.look(2)] == made


async def test_workers_with_cursors_and_late_commits_lose_nothing(dsn: str, looker: Looker) -> None:
    async def write(number: Any) -> None:
        async with await psycopg.AsyncConnection.connect(dsn, prepare_threshold=UNPREPARED) as writer:
            for _ in range(10):
                await writer.execute("select pgq.enqueue('jobs', 'work', priority => %s)", (number % 11,))
                await asyncio.sleep(0.002 * number)
                await writer.commit()

    writing = asyncio.gather(*(write(number) for number in range(6)))
    seen = []
    while not writing.done():
        seen += await looker.look(5)
    await writing
    while found := await looker.look(5, sweep=True):
        seen += found
    assert len(seen) == len(set(seen)) == 60
