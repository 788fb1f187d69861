"""Board and Lane: slots are fed in turn, a queue never runs more than it may, no wake-up is lost."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from datetime import UTC, datetime

import pytest

from pgq.gate import Gate, own_limit
from pgq.lane import Board, Lane
from pgq.queue import Settings
from pgq.task import Task

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def tasks(count: int, queue: str = "a") -> list[Task]:
    return [Task(queue, uuid.UUID(int=n), n, NOW, "t", 5, "{}", 1, 1, 1.0, 0, NOW) for n in range(count)]


def a_lane(name: str = "a", slots: int = 10, batch: int = 100, **settings: object) -> Lane:
    chosen = Settings(name=name, **settings)
    return Lane(chosen, ["t"], Gate(own_limit("pgq", chosen)), slots, batch)


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_lanes_take_turns() -> None:
    lanes = [a_lane("a"), a_lane("b"), a_lane("c")]
    board = Board(lanes, 10)
    for lane in lanes:
        board.add(lane, tasks(3, lane.settings.name))
    order = [(await board.next())[1].queue for _ in range(9)]
    assert order == ["a", "b", "c"] * 3


async def test_a_lane_gives_its_tasks_in_the_order_they_came() -> None:
    board = Board([lane := a_lane()], 10)
    board.add(lane, tasks(3))
    assert [(await board.next())[1].id for _ in range(3)] == [0, 1, 2]


async def test_a_queue_never_runs_more_than_its_concurrency() -> None:
    lane, other = a_lane("a", concurrency=2), a_lane("b")
    board = Board([lane, other], 10)
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()

    async def slot() -> None:
        while True:
            mine, task = await board.next()
            running[task.queue] += 1
            most[task.queue] = max(most[task.queue], running[task.queue])
            await asyncio.sleep(0)
            running[task.queue] -= 1
            board.done(mine)

    slots = [asyncio.create_task(slot()) for _ in range(10)]
    board.add(lane, tasks(50, "a"))
    board.add(other, tasks(50, "b"))
    while lane.buffer or other.buffer or board.running:  # noqa: ASYNC110 - the end of it is no event
        await asyncio.sleep(0)
    for one in slots:
        one.cancel()
    await asyncio.gather(*slots, return_exceptions=True)
    assert most["a"] == 2
    assert most["b"] > 2


async def test_a_waiting_slot_is_woken_for_each_task() -> None:
    board = Board([lane := a_lane()], 3)
    slots = [asyncio.create_task(board.next()) for _ in range(3)]
    await settled()
    board.add(lane, tasks(2))
    await settled()
    assert [slot.done() for slot in slots] == [True, True, False]
    slots[2].cancel()


async def test_a_slot_that_stops_waiting_passes_its_wake_up_on() -> None:
    board = Board([lane := a_lane()], 2)
    first, second = (asyncio.create_task(board.next()) for _ in range(2))
    await settled()
    board.add(lane, tasks(1))  # wakes the first, which is told to stop before it comes to run
    first.cancel()
    await settled()
    assert first.cancelled()
    assert second.done()


async def test_a_slot_that_is_told_to_stop_is_not_woken_in_place_of_one_that_waits() -> None:
    board = Board([lane := a_lane()], 2)
    first, second = (asyncio.create_task(board.next()) for _ in range(2))
    await settled()
    first.cancel()
    board.add(lane, tasks(1))
    await settled()
    assert first.cancelled()
    assert second.done()


async def test_a_slot_that_waits_says_that_the_board_is_hungry() -> None:
    board = Board([a_lane()], 1)
    slot = asyncio.create_task(board.next())
    await settled()
    assert board.hungry.is_set()
    slot.cancel()


async def test_the_end_of_the_last_task_makes_the_board_hungry() -> None:
    board = Board([lane := a_lane()], 1)
    board.add(lane, tasks(1))
    mine, _ = await board.next()
    board.hungry.clear()
    board.done(mine)
    assert board.hungry.is_set()
    assert (board.free, lane.room) == (1, 10)


@pytest.mark.parametrize(
    ("settings", "buffered", "running", "free", "expected"),
    [
        ({}, 0, 0, 10, 10),
        ({}, 0, 0, 3, 3),
        ({}, 0, 10, 10, 0),
        ({}, 4, 0, 10, 6),
        ({}, 10, 0, 10, 0),
        ({}, 15, 0, 10, 0),
        ({"concurrency": 2}, 0, 0, 10, 2),
        ({"concurrency": 2}, 1, 1, 10, 0),
        ({"concurrency": 2}, 0, 2, 10, 0),
        ({"concurrency": 50}, 0, 0, 10, 10),
        ({"paused": True}, 0, 0, 10, 0),
    ],
)
def test_a_lane_asks_for_what_can_start_now(
    settings: dict[str, object], buffered: int, running: int, free: int, expected: int
) -> None:
    lane = a_lane(**settings)
    lane.buffer.extend(tasks(buffered))
    lane.running = running
    assert lane.appetite(free) == expected


def test_a_lane_asks_for_no_more_than_a_batch() -> None:
    assert a_lane(slots=1_000, batch=100).appetite(1_000) == 100


def test_a_fast_lane_asks_ahead_and_a_slow_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr("pgq.lane.monotonic", lambda: now)
    fast, slow = a_lane(), a_lane()
    fast.buffer.extend(tasks(5_000))
    for _ in range(5_000):
        fast.take()
        fast.running = 0
    now += 1.0
    fast.measure()
    slow.measure()
    assert slow.appetite(10) == 10
    assert 10 < fast.appetite(10) <= 100


def test_of_tasks_that_end_at_once_two_batches_are_asked_for_however_few_this_process_got() -> None:
    lane = a_lane()
    for _ in range(300):
        lane.running += 1
        lane.ended(took=0.00001)
    assert lane.appetite(10) == 100
    lane.buffer.extend(tasks(100))
    assert lane.appetite(10) == 100
    lane.running = 1  # what runs now did not end at once
    assert lane.appetite(10) == 0


def test_one_slow_task_in_thirty_makes_a_lane_no_slow_one_but_a_few_in_a_row_do() -> None:
    lane = a_lane()
    for number in range(600):
        lane.running += 1
        lane.ended(took=0.01 if number % 30 == 0 else 0.00001)
    lane.buffer.extend(tasks(50))
    assert lane.appetite(10) == 100
    for _ in range(5):
        lane.running += 1
        lane.ended(took=0.01)
    assert lane.appetite(10) == 0


async def test_tasks_that_end_at_once_keep_one_slot_busy_and_leave_the_loop_its_turns() -> None:
    board = Board([lane := a_lane(batch=1_000)], 10)
    ran: Counter[int] = Counter()
    turns = 0

    async def slot(number: int) -> None:
        while True:
            mine, _ = await board.next()
            ran[number] += 1
            board.done(mine)
            if ran[number] % 10 == 0:
                await board.breathe()

    slots = [asyncio.create_task(slot(number)) for number in range(10)]
    await settled()
    board.add(lane, tasks(200))
    while lane.buffer:
        await asyncio.sleep(0)
        turns += 1
    for one in slots:
        one.cancel()
    await asyncio.gather(*slots, return_exceptions=True)
    assert sum(ran.values()) == 200
    assert len(ran) == 1
    assert turns >= 19


async def test_slots_whose_tasks_wait_are_all_woken_within_a_few_turns_of_the_loop() -> None:
    board = Board([lane := a_lane(slots=20)], 20)
    started = 0

    async def slot() -> None:
        nonlocal started
        await board.next()
        started += 1
        await asyncio.Event().wait()

    slots = [asyncio.create_task(slot()) for _ in range(20)]
    await settled()
    board.add(lane, tasks(20))
    await settled()
    assert started == 20
    for one in slots:
        one.cancel()
    await asyncio.gather(*slots, return_exceptions=True)


async def test_nothing_starts_once_the_board_is_closed() -> None:
    board = Board([lane := a_lane()], 1)
    board.add(lane, tasks(1))
    board.closed = True
    slot = asyncio.create_task(board.next())
    await settled()
    assert not slot.done()
    slot.cancel()
