"""One of two hosts is cut off: the other runs its tasks, and what it did meanwhile is refused when it comes back."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from time import monotonic_ns

import hosts
import psycopg
import pytest
from fault_app import work
from fleet import Fleet, eventually, registered
from hosts import Host, dsn_from
from ledger import Drained, Ledger
from producers import enqueue, producing
from test_kill import outcomes, statuses

from pgq import embedded

pytestmark = pytest.mark.fault


@pytest.fixture(scope="module")
def two_hosts() -> Iterator[list[Host]]:
    """Return two hosts with a link each to the server's."""
    if not hosts.IP:
        pytest.skip("`ip` (iproute2) is not installed")
    try:
        with hosts.hosts(2) as made:
            yield made
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces are not permitted here: {error.stderr.strip()}")


@pytest.fixture
def pooled() -> None:
    """Return no pooler: it would serve on the loopback interface, which is not the other hosts'."""


@pytest.fixture(scope="module")
def postgres(two_hosts: list[Host]) -> Iterator[embedded.Postgres]:
    """Return a durable server that both hosts reach."""
    with hosts.server_for(two_hosts) as server:
        yield server


@pytest.mark.parametrize("told", [True, False], ids=["connections end", "half-open"])
def test_a_host_that_was_cut_off_records_nothing_of_what_it_lost(
    told: bool, two_hosts: list[Host], fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    near, far = two_hosts
    cut_off = fleet.start(under=near.under, dsn=dsn_from(near, fleet.dsn))
    eventually(lambda: registered(fleet.dsn) == 1, 20, "the worker on the first host")
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        keys = {enqueue(conn, ledger, work, ms=4_000) for _ in range(8)}
        eventually(lambda: ledger.keys("start") == keys, 15, "the start of all tasks")
        near.cut(conn if told else None)
        cut_at = monotonic_ns()
        try:
            other = fleet.start(under=far.under, dsn=dsn_from(far, fleet.dsn))
            eventually(lambda: len(ledger.read("end")) == 16, 30, "both runs of all tasks")
            eventually(lambda: statuses(fleet.dsn) == {"completed": 8}, 10, "their completions")
        finally:
            near.mend()
    before = outcomes(fleet.dsn)
    lease = float(str(fleet.settings["lease"]))
    ledger.outslept(cut_off.pid, cut_at + round(lease * 1e9))  # what it ran was no longer its own from then on
    eventually(lambda: registered(fleet.dsn) == 2, 30, "the first host's return")
    eventually(lambda: refused(fleet.log) >= 8, 20, "the refusal of what it had lost")
    with producing(fleet.dsn, ledger, rate=100, kinds=(work,)):
        later = len(ledger.read("start"))
        eventually(lambda: runners(ledger, later) == {cut_off.pid, other.pid}, 20, "work on both hosts")
    account = drained()
    assert account.clean, account
    assert account.doubled == 8
    assert outcomes(fleet.dsn, "attempts = 2") == before
    assert "declared dead" in fleet.log
    assert cut_off.poll() is None


def refused(log: str) -> int:
    """Return how many outcomes were refused."""
    lines = [line for line in log.splitlines() if "lease lost: task" in line]
    return sum(line.partition("[")[2].partition("]")[0].count(",") + 1 for line in lines)


def runners(ledger: Ledger, since: int) -> set[int]:
    """Return the processes that ran tasks after the first so many starts."""
    return {int(words[5]) for words in ledger.read("start")[since:]}
