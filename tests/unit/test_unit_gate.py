"""The gate of a lane: when it asks, what it keeps, what it says of what ended."""

from __future__ import annotations

from uuid import UUID

import pytest

from pgq.gate import Gate
from pgq.grants import WHATEVER, Batch, Limit, Taken, mark_of
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
        (800, 100, 10.6, False),  # claims do not follow each other that fast: it would be too old
    ],
)
def test_the_permits_of_the_next_claim_are_asked_for_before_this_one_where_there_is_plenty_and_no_time(
    spare: int, found: int, second_at: float, asks: bool
) -> None:
    gate = Gate(RATED)
    first = granted(gate, 100, 10.0, spare)
    assert gate.ask is None  # nobody knows whether a claim finds anything
    gate.claimed(first, found, 10.0)
    assert gate.ask is None
    granted(gate, 100, second_at, spare)
    assert (gate.ask is not None) == asks


def hurried(gate: Gate) -> Batch:
    """Let a gate see plenty and claims that follow each other; returns the permits it got ahead, at 10.02."""
    for now in (10.0, 10.01):
        gate.claimed(granted(gate, 100, now, 900), 100, now)
    gate.start_by = None
    gate.grant(Taken(100, spare=900), 10.02, 10.02)
    return next(reversed(gate.batches.values()))


def test_what_was_asked_ahead_waits_for_its_claim_while_it_is_fresh_and_then_goes_back() -> None:
    gate = Gate(RATED)
    lease = hurried(gate).lease
    gate.take_back(10.51)
    assert lease not in {UUID(name) for name, *_ in gate.reports(10.51)}
    gate.take_back(10.53)
    assert (lease.hex, 0, 0, 0, None) in gate.reports(10.53)
    assert gate.permits(100, 10.53) is None


def test_what_was_asked_ahead_goes_back_at_once_where_there_is_plenty_no_more() -> None:
    gate = Gate(RATED)
    for now in (10.0, 10.01):
        gate.claimed(granted(gate, 100, now, 900), 100, now)
    gate.grant(Taken(100, spare=799), 10.02, 10.02)
    gate.take_back(10.03)
    assert [permit[1:] for permit in gate.reports(10.03)] == [(0, 0, 0, None)]


def test_what_is_asked_ahead_may_be_on_its_way_for_longer_and_start_later() -> None:
    gate = Gate(RATED)
    assert gate.slack == RATED.quota.slack
    hurried(gate)
    assert gate.slack == 1.0
    batch = gate.permits(100, 10.03)
    assert batch is not None
    gate.claimed(batch, 100, 10.03)
    assert gate.start_by == pytest.approx(10.52)


def test_a_claim_that_came_before_its_permits_asks_for_such_as_may_be_long_on_their_way() -> None:
    gate = Gate(RATED)
    gate.claimed(hurried(gate), 100, 10.03)
    gate.take_back()
    assert gate.permits(100, 10.04) is None
    assert gate.slack == 1.0


def test_permits_of_a_limit_that_is_nearly_used_up_go_back_as_soon_as_nobody_wants_them() -> None:
    gate = Gate(RATED)
    assert gate.permits(5, 1.0) is None
    gate.grant(Taken(5), 1.0, 1.0)
    gate.take_back(1.0)
    assert [permit[1:] for permit in gate.reports(1.0)] == [(0, 0, 0, None)]


def test_ends_wake_the_loop_once_until_they_are_reported() -> None:
    gate = Waking()
    batch = granted(gate, 9, 1.0)
    gate.claimed(batch, 9)
    before = gate.woken
    for _ in range(3):
        gate.ended(batch.lease, 1.5)
    assert gate.woken == before + 1
    said = gate.reports(1e6)
    gate.ended(batch.lease, 1.5)
    gate.reported(said)
    assert gate.woken == before + 2
    gate.reported(gate.reports(1e6))
    gate.ended(batch.lease, 1.5)
    assert gate.woken == before + 3


def test_each_end_wakes_the_loop_where_the_limit_binds() -> None:
    gate = Waking()
    batch = granted(gate, 9, 1.0)
    gate.claimed(batch, 9)
    gate.short = "concurrency"
    before = gate.woken
    for _ in range(3):
        gate.ended(batch.lease, 1.5)
    assert gate.woken == before + 3


def test_what_ended_while_it_was_renewed_is_reported_anew_and_takes_no_units_away() -> None:
    gate = Waking()
    some, all_ = granted(gate, 9, 1.0), granted(gate, 2, 2.0)
    for batch in (some, all_):
        gate.claimed(batch, batch.granted)
    renewed = gate.held()
    for lease in (some.lease, all_.lease, all_.lease):
        gate.ended(lease, 1.5)
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


def test_the_limiter_hears_that_a_batch_has_begun_once_all_of_it_has_and_not_before() -> None:
    gate = Waking()
    batch = granted(gate, 3, 1.0)
    gate.claimed(batch, 3)
    gate.begun(batch.lease, 1, 1.1)
    gate.begun(batch.lease, 1, 1.2)
    assert gate.reports(1.3) == []
    gate.ended(batch.lease, 1.5, started=False)
    assert gate.must_speak
    assert gate.reports(1.3) == [(batch.lease.hex, 2, 2, 0, pytest.approx(100_000, abs=1))]
    gate.reported(gate.reports(1.3))
    assert gate.reports(1.3) == []


def test_what_ended_before_it_was_known_to_have_begun_is_told_without_a_start_and_then_with_it() -> None:
    gate = Gate(RATED)
    batch = granted(gate, 2, 1.0)
    gate.claimed(batch, 2)
    gate.ended(batch.lease, 1.5)
    said = gate.reports(1e6)
    assert [permit[1:3] + permit[4:] for permit in said] == [(2, 1, None)]
    gate.begun(batch.lease, 1, 1.1)
    gate.begun(batch.lease, 1, 1.1)
    gate.reported(said)
    assert [permit[1:3] for permit in gate.reports(1e6)] == [(2, 1)]
    assert gate.reports(1e6)[0][-1] is not None


def test_a_limit_without_a_rate_hears_of_no_start() -> None:
    gate = Gate(Limit("pgq:{queue:q}", "", Quota(slots=5)))
    batch = granted(gate, 1, 1.0)
    gate.claimed(batch, 1)
    gate.begun(batch.lease, 1, 1.1)
    gate.unheard = False
    assert not gate.must_speak


def test_slots_that_others_hold_for_long_are_asked_for_less_and_less_often() -> None:
    gate = Gate(Limit("pgq:{queue:q}", "", Quota(slots=5)))

    def refused(now: float) -> float:
        assert gate.permits(1, now) is None
        gate.grant(Taken(0, None, "concurrency"), now, now)
        return gate.opens_at - now

    now, pauses = 1_000.0, list[float]()
    while now < 1_020:
        pauses.append(refused(now))
        now += pauses[-1]
    assert pauses[:16] == pytest.approx([0.025] * 16)
    assert pauses[-1] == 0.5
    assert pauses == sorted(pauses)
    assert len(pauses) < 100
    assert gate.permits(1, now) is None
    gate.grant(Taken(1), now, now)
    batch = gate.permits(1, now)
    assert batch is not None
    gate.claimed(batch, 1, now)
    assert refused(now + 0.1) == pytest.approx(0.025)  # things move again
    assert refused(now + 60) == pytest.approx(0.025)  # and nobody asked for a minute
    gate.ended(batch.lease, now + 60)
    assert gate.opens_at == 0.0


def test_a_queue_that_was_told_to_wait_uses_no_permits_it_got_before_and_its_own_ends_do_not_open_it() -> None:
    gate = Gate(RATED)
    hurried(gate)
    gate.close(20.0)
    assert gate.closed(10.03)
    assert gate.next_look(0.0) == 20.0
    gate.short = "concurrency"
    gate.ended(next(iter(gate.batches)), 10.04)
    assert gate.closed(10.04)
    gate.take_back(10.6)
    assert not gate.closed(20.0)
    gate.reopen(12.0)  # by somebody who had closed it for less
    assert gate.closed(11.0)
    gate.reopen(20.0)
    assert not gate.closed(11.0)
