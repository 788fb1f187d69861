"""The gate of a lane: when it asks, what it keeps, what it says of what ended."""

from __future__ import annotations

from uuid import UUID

import pytest

from pgq.gate import Batch, Gate
from pgq.grants import WHATEVER, Limit, Taken, mark_of
from pgq.quota import Quota

RATED = Limit("pgq:{queue:q}", "", Quota(1_000, 1.0))  # its permits may be used within 25 ms


class Waking(Gate):
    """A gate that counts how often it wakes the loop."""

    def __init__(self) -> None:
        super().__init__(RATED, mark_of("w"))
        self.woken = 0
        self.wake = self._count

    def _count(self) -> None:
        self.woken += 1


def granted(gate: Gate, count: int, now: float, spare: int = 0) -> Batch:
    """Ask for permits and get them at once."""
    assert gate.permits(count, now) is None
    gate.grant(Taken(count, spare=spare), now, now)
    batch = gate.permits(count, now)
    assert batch is not None
    return batch


def test_every_lease_begins_with_the_mark_of_its_worker_and_no_two_are_alike() -> None:
    gate = Gate(RATED, mark_of("w"))
    leases = [granted(gate, 1, float(now)).lease for now in range(50)]
    assert {lease.hex[:12] for lease in leases} == {mark_of("w")} != {mark_of("v")}
    assert len(set(leases)) == 50
    assert {lease.version for lease in leases} == {4}


@pytest.mark.parametrize(
    ("spare", "found", "second_at", "asks"),
    [
        (800, 100, 10.02, True),
        (799, 100, 10.02, False),  # others may need them
        (800, 99, 10.02, False),  # the queue is empty
        (800, 100, 10.1, False),  # claims do not follow each other that fast: it would be too old
    ],
)
def test_the_permits_of_the_next_claim_are_asked_for_ahead_where_there_is_plenty_and_no_time(
    spare: int, found: int, second_at: float, asks: bool
) -> None:
    gate = Gate(RATED)
    gate.claimed(granted(gate, 100, 10.0, spare), 100, 10.0)
    assert gate.ask is None
    gate.claimed(granted(gate, 100, second_at, spare), found, second_at)
    assert (gate.ask is not None) == asks


def test_what_was_asked_ahead_waits_for_its_claim_while_it_is_fresh_and_then_goes_back() -> None:
    gate = Gate(RATED)
    for now in (10.0, 10.01):
        gate.claimed(granted(gate, 100, now, 900), 100, now)
    assert gate.ask is not None
    lease = gate.ask[0]
    gate.grant(Taken(100, spare=900), 10.02, 10.02)
    gate.take_back(10.1)
    assert lease not in {UUID(name) for name, *_ in gate.reports(10.1)}
    gate.take_back(10.13)
    assert (lease.hex, 0, 0, 0) in gate.reports(10.13)
    assert gate.permits(100, 10.13) is None


def test_what_is_asked_ahead_may_be_on_its_way_for_longer_and_start_later() -> None:
    gate = Gate(RATED)
    for now in (10.0, 10.01):
        assert gate.slack == RATED.quota.slack
        gate.claimed(granted(gate, 100, now, 900), 100, now)
    assert gate.slack == 0.2
    assert gate.start_by == pytest.approx(10.025)
    gate.start_by = None
    gate.grant(Taken(100, spare=900), 10.02, 10.02)
    batch = gate.permits(100, 10.03)
    assert batch is not None
    gate.claimed(batch, 100, 10.03)
    assert gate.start_by == pytest.approx(10.12)


def test_permits_of_a_limit_that_is_nearly_used_up_go_back_as_soon_as_nobody_wants_them() -> None:
    gate = Gate(RATED)
    assert gate.permits(5, 1.0) is None
    gate.grant(Taken(5), 1.0, 1.0)
    gate.take_back(1.0)
    assert [permit[1:] for permit in gate.reports(1.0)] == [(0, 0, 0)]


def test_ends_wake_the_loop_once_until_they_are_reported() -> None:
    gate = Waking()
    batch = granted(gate, 9, 1.0)
    gate.claimed(batch, 9)
    before = gate.woken
    for _ in range(3):
        gate.ended(batch.lease)
    assert gate.woken == before + 1
    said = gate.reports(1e6)
    gate.ended(batch.lease)
    gate.reported(said)
    assert gate.woken == before + 2
    gate.reported(gate.reports(1e6))
    gate.ended(batch.lease)
    assert gate.woken == before + 3


def test_each_end_wakes_the_loop_where_the_limit_binds() -> None:
    gate = Waking()
    batch = granted(gate, 9, 1.0)
    gate.claimed(batch, 9)
    gate.short = "concurrency"
    before = gate.woken
    for _ in range(3):
        gate.ended(batch.lease)
    assert gate.woken == before + 3


def test_what_ended_while_it_was_renewed_is_reported_anew_and_takes_no_units_away() -> None:
    gate = Waking()
    some, all_ = granted(gate, 9, 1.0), granted(gate, 2, 2.0)
    for batch in (some, all_):
        gate.claimed(batch, batch.granted)
    renewed = gate.held()
    for lease in (some.lease, all_.lease, all_.lease):
        gate.ended(lease)
    gate.reported(gate.reports(1e6))
    assert not gate.must_report
    gate.renewed(renewed)
    assert {permit[:3] for permit in gate.reports(1e6)} == {(some.lease.hex, 9, 8), (all_.lease.hex, WHATEVER, 0)}
    gate.reported(gate.reports(1e6))
    assert gate.held() == [(some.lease.hex, 9, 8)]
    gate.renewed(gate.held())
    assert not gate.must_report


def test_what_waits_may_start_as_long_as_its_own_permits_are_good_whatever_came_before_it() -> None:
    gate = Gate(RATED)
    first, second = granted(gate, 1, 10.0), granted(gate, 1, 10.02)
    for batch in (first, second):
        gate.claimed(batch, 1)
    assert gate.start_by == pytest.approx(10.025)
    assert gate.good_until({first.lease, second.lease}) == pytest.approx(10.025)
    assert gate.good_until({second.lease}) == pytest.approx(10.045)
    gate.refreshed({first.lease}, 10.05)
    assert gate.good_until({first.lease}) == pytest.approx(10.075)
    assert gate.good_until({UUID(int=0)}) == 0.0
