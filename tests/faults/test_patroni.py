"""A cluster that fails over by itself: its leader is killed, then changed on purpose, and work goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic

import patroni_cluster
import psycopg
import pytest
from fault_app import app
from fleet import Fleet, eventually, registered
from ledger import Drained, Ledger
from patroni_cluster import Cluster, cluster
from producers import producing

from pgq import migrate
from pgq.embedded.account import Account

pytestmark = [
    pytest.mark.fault,
    pytest.mark.timeout(300),
    pytest.mark.skipif(patroni_cluster.ETCD is None, reason="etcd is not installed"),
    pytest.mark.skipif(
        patroni_cluster.program(Account.current()) is None, reason="Patroni is not installed where Postgres can run it"
    ),
]


@pytest.fixture
def servers() -> Iterator[Cluster]:
    """Return three nodes in synchronous mode."""
    with cluster(3) as servers:
        yield servers


@pytest.fixture
def dsn(servers: Cluster) -> str:
    """Return a DSN with every node in it."""
    with psycopg.connect(servers.dsn, autocommit=True) as conn:
        migrate.migrate(conn)
        app.declare(conn)
    return servers.dsn


def test_a_cluster_that_loses_its_leader_and_changes_it_loses_no_task(
    servers: Cluster, fleet: Fleet, ledger: Ledger, drained: Drained, measured: Callable[[str], None]
) -> None:
    for _ in range(2):
        fleet.start()
    eventually(lambda: registered(fleet.dsn) == 2, 20, "two workers")

    def throughput() -> None:
        before = len(ledger.read("end"))
        eventually(lambda: len(ledger.read("end")) > before + 100, 60, "throughput")

    with producing(fleet.dsn, ledger, rate=60):
        throughput()
        killed = monotonic()
        leader = servers.leader()
        assert leader is not None
        leader.kill()
        throughput()
        measured(f"100 tasks done {monotonic() - killed:.0f} s after the leader was killed")
        eventually(servers.synchronous, 40, "a synchronous standby of the new leader")
        switched = monotonic()
        servers.switch_over()
        throughput()
        measured(f"100 tasks done {monotonic() - switched:.0f} s after a change of leader was asked for")
    account = drained(60)
    assert account.clean, account
    assert all(process.poll() is None for process in fleet.processes)
