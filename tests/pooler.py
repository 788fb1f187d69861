"""A PgBouncer in transaction mode before a server: what the product is given where PGQ_TEST_POOLER is set."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
WANTED = bool(os.environ.get("PGQ_TEST_POOLER"))
UNHEARD = "behind a pooler in transaction mode workers hear nothing: they poll"
HEARD = pytest.mark.skipif(WANTED, reason=UNHEARD)
OWN_SESSION = pytest.mark.skipif(WANTED, reason="a pooler in transaction mode gives nobody a session of its own")
UNPREPARED = None if WANTED else 5  # `prepare_threshold` of a connection: PgBouncer before 1.21 knows no prepared ones
AUTH_QUERY = "select rolname, '' from pg_catalog.pg_roles where rolname = $1"  # roles come and go in tests
# Sessions are handed out in turn, so that two transactions of one client rarely meet the same one.
MIXED = {"default_pool_size": 60, "min_pool_size": 3, "server_round_robin": 1, "server_login_retry": 1}


class Pooler:
    """One PgBouncer; `dsn(database)` leads through it to a database of its server."""

    def __init__(self, port: int) -> None:
        self._port = port

    def dsn(self, direct: str) -> str:
        """Return the way through it to the database that `direct` names."""
        parts = {**conninfo_to_dict(direct), "host": "127.0.0.1", "port": self._port, "sslmode": "disable"}
        return make_conninfo(**parts)


@contextmanager
def pooler(server: str, settings: dict[str, object] | None = None) -> Iterator[Pooler]:
    """Run a PgBouncer before a server, with these settings of its own."""
    home = Path(tempfile.mkdtemp(prefix="pgq-pooler-", dir="/tmp"))
    home.chmod(0o755)
    port = free_port()
    process = _start(home, conninfo_to_dict(server), {**MIXED, **(settings or {}), "listen_port": port})
    try:
        _answers(server, Pooler(port), process, home / "log")
        yield Pooler(port)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(home, ignore_errors=True)


def _start(home: Path, target: dict[str, object], settings: dict[str, object]) -> subprocess.Popen[bytes]:
    user, password = target.get("user", "postgres"), target.get("password", "")
    users = home / "users.txt"
    users.write_text(f'"{user}" "{password}"\n')
    way = {"host": target["host"], "port": target.get("port", 5432)}
    if password:  # then everybody is whom the DSN names; else each keeps the role it came as
        way |= {"user": user, "password": password}
        auth = {"auth_type": "any"}
    else:
        auth = {"auth_type": "trust", "auth_user": user, "auth_query": AUTH_QUERY}
    lines = {
        "listen_addr": "127.0.0.1", "unix_socket_dir": "", **auth, "auth_file": users,
        "pool_mode": "transaction", "max_client_conn": 1_000, "max_db_connections": 0, **settings,
    }  # fmt: skip
    words = " ".join(f"{name}={value}" for name, value in way.items())
    said = "\n".join(f"{name} = {value}" for name, value in lines.items())
    (home / "pgbouncer.ini").write_text(f"[databases]\n* = {words}\n[pgbouncer]\n{said}\n")
    command = [str(PGBOUNCER), str(home / "pgbouncer.ini")]
    if getpass.getuser() == "root":  # which PgBouncer refuses to be
        socket_folder = Path(str(target["host"]))
        command[1:1] = ["-u", socket_folder.owner() if socket_folder.is_dir() else "nobody"]
    with (home / "log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def _answers(server: str, made: Pooler, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + 10
    while True:
        assert process.poll() is None, log.read_text()
        try:
            psycopg.connect(made.dsn(server)).close()
        except psycopg.OperationalError:
            assert time.monotonic() < ends, log.read_text()
            time.sleep(0.02)
        else:
            return


def free_port() -> int:
    """Return a port that is free."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def session_locks(conn: psycopg.Connection) -> int:
    """Return how many advisory locks are held in this database: behind a pooler, nobody would ever let go of them."""
    cursor = conn.execute(
        "select count(*) from pg_locks where locktype = 'advisory'"
        " and database = (select oid from pg_database where datname = current_database())"
    )
    return int(cursor.fetchall()[0][0])
