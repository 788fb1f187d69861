"""While a crowd is parked, claims look behind it: what stood there already need not wait for its end."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from factory import QUEUE, make_queue, make_task, make_worker

import pgq
from pgq.claim import Want, claim
from pgq.cursor import BEGINNING, PRIORITIES, Clock
from pgq.gate import Gate, own_limit
from pgq.grants import Answer, key_limit
from pgq.keyring import Bearer
from pgq.lane import Board, Lane
from pgq.limiter import acall, aconnect_redis
from pgq.line import read_settings
from pgq.park import AT_ONCE, CROWD, Parker
from pgq.quota import KeyLimit, Quota
from pgq.script import Verb
from pgq.task import Task

KIND = KeyLimit("customer", Quota(1, 3600.0))
CROWDED = """
insert into pgq.tasks (queue, task, timeout, max_attempts, priority, limit_keys)
select 'jobs', 'work', 60, 5, 5, array['customer:greedy'] from generate_series(1, %s)
"""


@dataclass
class Scene:
    """A lane, and a parker that stops before its second statement until it may go on."""

    config: pgq.Config
    client: Any
    conn: psycopg.AsyncConnection
    lane: Lane
    worker_id: int
    words: int = 0

    def __post_init__(self) -> None:
        self.half_way, self.go_on = asyncio.Event(), asyncio.Event()
        self.parker = Parker(self.config, Board([self.lane], 10), self.say)

    async def say(self, verb: Verb) -> Any:
        self.words += 1
        if self.words == 3:  # each statement has two: how far away the last is, and how far now
            self.half_way.set()
            await self.go_on.wait()
        return await acall(self.client, verb)

    async def look(self, *, sweep: bool = False) -> list[int]:
        clock = Clock()
        ((now,),) = await (await self.conn.execute("select clock_timestamp()")).fetchall()
        clock.set(now)
        (found,) = await claim(self.conn, self.worker_id, [Want(self.lane, 10, sweep=sweep)], clock)
        return [task.id for task in found.tasks]

    def deny(self, task: Task) -> None:
        limit = key_limit(self.config.limit_prefix, "customer:greedy", KIND)
        bearer = Bearer(self.lane, task, (limit,))
        answers = [Answer(granted=False, wait=3600.0 * n, limit=limit) for n in range(CROWD)]
        self.parker.denied([(bearer, answer) for answer in answers])


@pytest.fixture
async def scene(config: pgq.Config, conn: psycopg.Connection, aconn: psycopg.AsyncConnection) -> AsyncIterator[Scene]:
    make_queue(conn)
    (settings,) = await read_settings(aconn, [QUEUE])
    lane = Lane(settings, ["work"], Gate(own_limit(config.limit_prefix, settings)), 10, 100)
    client = aconnect_redis(config.redis_url)
    scene = Scene(config, client, aconn, lane, make_worker(conn))
    yield scene
    scene.go_on.set()
    await scene.parker.close()
    await client.aclose()


@pytest.mark.parametrize("sweep", [False, True], ids=["cursor", "sweep"])
async def test_a_free_task_that_stood_behind_the_crowd_is_found_while_the_crowd_is_parked(
    sweep: bool, scene: Scene, conn: psycopg.Connection, ann: psycopg.Connection
) -> None:
    conn.execute(CROWDED, (AT_ONCE + 1_000,))
    free = make_task(conn, limit_keys=["customer:modest"])
    urgent = make_task(conn, priority=0)
    late = make_task(ann)  # commits while it is parked
    scene.deny(_some_task())
    await asyncio.wait_for(scene.half_way.wait(), 20)
    assert await scene.look(sweep=sweep) == [urgent, free]
    ann.commit()
    assert await scene.look(sweep=True) == [late]


async def test_when_the_crowd_is_away_the_next_look_begins_at_the_beginning(
    scene: Scene, conn: psycopg.Connection
) -> None:
    free = make_task(conn, limit_keys=["customer:modest"])
    conn.execute(CROWDED, (AT_ONCE + 1_000,))
    scene.go_on.set()
    scene.deny(_some_task())
    await asyncio.wait_for(scene.half_way.wait(), 20)
    while scene.lane.cursor.bottom != [BEGINNING] * len(PRIORITIES):  # noqa: ASYNC110 - the end of the parking
        await asyncio.sleep(0.01)
    assert await scene.look() == [free]


def _some_task() -> Task:
    return Task(QUEUE, uuid.uuid4(), 1, BEGINNING, "work", 5, "{}", 1, 5, 60.0, 0, BEGINNING, ["customer:greedy"])
