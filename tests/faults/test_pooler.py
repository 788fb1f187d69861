"""PgBouncer in transaction mode stands between: no session is ours, and nothing relies on one."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from fault_app import work
from fleet import Fleet, eventually
from ledger import Drained, Ledger
from producers import enqueue, producing
from psycopg.conninfo import conninfo_to_dict, make_conninfo

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed"),
]


@pytest.fixture
def pooled_dsn(dsn: str, tmp_path: Path) -> Iterator[str]:
    """Return the DSN of the database by way of a PgBouncer that gives each transaction any of four sessions."""
    target = conninfo_to_dict(dsn)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    users = tmp_path / "users.txt"
    users.write_text('"postgres" ""\n')
    config = tmp_path / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n* = host={target['host']} port={target.get('port', 5432)} user=postgres\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\nauth_file = {users}\npool_mode = transaction\ndefault_pool_size = 4\n"
        f"server_reset_query = discard all\nserver_reset_query_always = 1\n"
    )
    tmp_path.chmod(0o755)
    command = [str(PGBOUNCER), str(config)]
    if getpass.getuser() == "root":
        for folder in (tmp_path, *tmp_path.parents[:2]):
            folder.chmod(0o755)
        command[1:1] = ["-u", Path(str(target["host"])).owner()]  # PgBouncer refuses to be root
    with (tmp_path / "pgbouncer.log").open("ab") as log:
        pooler = subprocess.Popen(command, stdout=log, stderr=log)
    pooled = make_conninfo(dsn, host="127.0.0.1", port=port, user="postgres", sslmode="disable")

    def answers() -> bool:
        assert pooler.poll() is None, (tmp_path / "pgbouncer.log").read_text()
        try:
            psycopg.connect(pooled).close()
        except psycopg.OperationalError:
            return False
        return True

    try:
        eventually(answers, 10, "PgBouncer's answer")
        yield pooled
    finally:
        pooler.kill()
        pooler.wait()


def test_behind_a_transaction_pooler_workers_poll_and_lose_nothing(
    pooled_dsn: str, fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    for _ in range(2):
        fleet.start(dsn=pooled_dsn)
    with producing(pooled_dsn, ledger, rate=100):
        eventually(lambda: len(ledger.keys("end")) > 300, 30, "work")
    account = drained()
    assert account.clean, account
    assert account.doubled == 0
    assert "polling instead" in fleet.log
    assert "prepared statement" not in fleet.log
    with psycopg.connect(fleet.dsn) as conn:
        assert advisory_locks(conn) == 0
    for process in list(fleet.processes):
        assert fleet.stop(process) == 0


def test_behind_a_transaction_pooler_a_killed_worker_s_tasks_come_back(
    pooled_dsn: str, fleet: Fleet, ledger: Ledger, drained: Drained
) -> None:
    victim = fleet.start(dsn=pooled_dsn)
    with psycopg.connect(pooled_dsn, autocommit=True) as conn:
        conn.prepare_threshold = None
        for _ in range(8):
            enqueue(conn, ledger, work, ms=1_000)
    eventually(lambda: len(ledger.keys("start")) == 8, 15, "the start of all tasks")
    fleet.kill(victim)
    fleet.start(dsn=pooled_dsn)
    account = drained()
    assert account.clean, account
    assert account.doubled == 8


def advisory_locks(conn: psycopg.Connection) -> int:
    """Return how many session-level locks are held in this database."""
    cursor = conn.execute(
        "select count(*) from pg_locks where locktype = 'advisory'"
        " and database = (select oid from pg_database where datname = current_database())"
    )
    return int(cursor.fetchall()[0][0])
