"""Keyring: a few of those who were denied wait at the door, as many as the key may run, and for a while."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from math import inf

from pgq.gate import Gate, own_limit
from pgq.grants import Answer
from pgq.keyring import STAY, Bearer, Keyring
from pgq.lane import Lane
from pgq.queue import Settings
from pgq.quota import KeyLimit, Quota
from pgq.task import Task

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def a_lane(**settings: object) -> Lane:
    chosen = Settings(name="a", **settings)
    return Lane(chosen, ["t"], Gate(own_limit("pgq", chosen)), 10, 100)


def filled(count: int, lane: Lane, key: str = "host:a") -> Keyring:
    ring = Keyring("pgq", lambda: None)
    ring.kinds = {"host": KeyLimit("host", Quota(slots=2)), "api": KeyLimit("api", Quota(5, 1.0))}
    bare = Task("a", uuid.UUID(int=1), 1, NOW, "t", 5, "{}", 1, 1, 1.0, 0, NOW, limit_keys=[key])
    for number in range(count):
        ring.add(lane, replace(bare, id=number))
    return ring


def denied(bearer: Bearer, wait: float = 0.5) -> Answer:
    return Answer(granted=False, wait=wait, limit=bearer.limits[0])


def test_as_many_wait_at_the_door_as_the_key_may_run() -> None:
    lane = a_lane()
    ring = filled(3, lane)
    assert [ring.stays(bearer, denied(bearer), 100) for bearer in ring.next(100)] == [True, True, False]
    assert lane.asking == 1  # the others do not keep the lane from claiming


def test_who_waits_at_the_door_asks_when_its_turn_comes() -> None:
    ring = filled(1, a_lane())
    (bearer,) = ring.next(100)
    assert ring.asks_at <= 100
    ring.stays(bearer, denied(bearer), 100)
    assert (ring.asks_at, ring.next(100.4), ring.next(100.5)) == (100.5, [], [bearer])
    assert ring.request(bearer).denied == 1


def test_nobody_waits_at_the_door_for_ever() -> None:
    ring = filled(1, a_lane())
    (bearer,) = ring.next(100)
    assert ring.stays(bearer, denied(bearer, STAY - 0.1), 100)
    assert not ring.stays(bearer, denied(bearer, 0.2), 100 + STAY - 0.1)


def test_the_end_of_a_task_calls_the_first_at_the_door_in() -> None:
    lane = a_lane()
    ring = filled(3, lane)
    running, *waiting = ring.next(100)
    ring.answered(running, Answer(granted=True))
    for bearer in waiting:
        ring.stays(bearer, denied(bearer), 100)
    ring.ended(running.task)
    assert ring.next(100) == [waiting[0]]
    ring.answered(waiting[0], Answer(granted=True))
    ring.remove(waiting[1])
    assert (lane.asking, ring.asks_at, ring.door) == (0, inf, {})


def test_a_rate_lets_nobody_wait_at_the_door() -> None:
    """When its turn comes is no guess."""
    ring = filled(1, a_lane(), key="api:a")
    (bearer,) = ring.next(100)
    assert not ring.stays(bearer, denied(bearer), 100)


def test_nobody_waits_at_the_door_with_a_slot_of_its_queue() -> None:
    ring = filled(1, a_lane(concurrency=5))
    (bearer,) = ring.next(100)
    assert not ring.stays(bearer, denied(bearer), 100)
