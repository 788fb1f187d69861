from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from real_servers import FAST, Ask, Python, needs_an_open_place

from pgq.embedded import EmbeddedError, Postgres
from pgq.embedded.account import Account

DEBIAN = Path("/usr/lib/postgresql/15/bin")
STARTED = "select pg_postmaster_start_time()"


def socket_directory(dsn: str) -> Path:
    return Path(parse_qs(urlsplit(dsn).query)["host"][0])


def postmaster(home: Path) -> int:
    return int((home / "pg-18/data/postmaster.pid").read_text().splitlines()[0])


def test_a_server_starts_from_nothing_and_stops(home: Path, ask: Ask) -> None:
    server = Postgres(home, FAST)
    assert not server.running
    assert ask(server.start().dsn, "show server_version").startswith("18.")
    assert server.running
    assert server.stop()
    assert not server.running
    assert not server.stop()


def test_defaults_keep_every_commit(home: Path, ask: Ask) -> None:
    dsn = Postgres(home).start().dsn
    wanted = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "max_connections": "200"}
    wanted |= {"shared_buffers": "256MB", "listen_addresses": "", "server_encoding": "UTF8"}
    assert {name: ask(dsn, f"show {name}") for name in wanted} == wanted


def test_settings_may_hold_quotes_backslashes_and_newlines(home: Path, ask: Ask) -> None:
    awkward = 'it\'s \\ a "test"\n%m'
    dsn = Postgres(home, {**FAST, "log_line_prefix": awkward, "jit": False}).start().dsn
    assert ask(dsn, "show log_line_prefix") == awkward
    assert ask(dsn, "show jit") == "off"


def test_alter_system_wins_over_settings(home: Path, ask: Ask) -> None:
    server = Postgres(home, FAST).start()
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("alter system set max_connections = 33")
    assert ask(server.restart_immediately().dsn, "show max_connections") == "33"


def test_a_second_start_attaches_and_changes_nothing(home: Path, ask: Ask) -> None:
    first = Postgres(home, FAST).start()
    started = ask(first.dsn, STARTED)
    second = Postgres(home, {**FAST, "max_connections": 30}).start()
    assert second.dsn == first.dsn
    assert ask(second.dsn, STARTED) == started
    assert ask(second.dsn, "show max_connections") == "20"


@pytest.mark.fault
def test_data_survives_kill_9(home: Path, ask: Ask) -> None:
    server = Postgres(home, FAST).start()
    ask(server.dsn, "create table kept as select 42 as answer")
    server.kill()
    assert not server.running
    assert ask(server.start().dsn, "select answer from kept") == 42


@pytest.mark.fault
def test_data_survives_an_immediate_restart(home: Path, ask: Ask) -> None:
    server = Postgres(home, FAST).start()
    ask(server.dsn, "create table kept as select 42 as answer")
    started = ask(server.dsn, STARTED)
    assert ask(server.restart_immediately().dsn, "select answer from kept") == 42
    assert ask(server.dsn, STARTED) != started


@pytest.mark.fault
def test_a_zombie_postmaster_is_replaced(home: Path, ask: Ask, python: Python) -> None:
    # The starter lives on and never reaps its child, like PID 1 of a plain `docker run python`.
    starter = python("embedded.Postgres(Path(sys.argv[1])).start(); print(flush=True); sys.stdin.read()", home)
    assert starter.stdout
    starter.stdout.readline()
    dead = postmaster(home)
    os.kill(dead, signal.SIGKILL)
    server = Postgres(home, FAST).start()
    assert Path(f"/proc/{dead}/stat").read_text().split(") ")[1][0] == "Z"
    assert postmaster(home) != dead
    assert ask(server.dsn, "select 1") == 1


@pytest.mark.fault
def test_a_pid_file_that_names_a_stranger_is_replaced(home: Path, ask: Ask) -> None:
    server = Postgres(home, FAST).start()
    server.kill()
    # Same user: Postgres itself sees through ids of processes that are not its own.
    with subprocess.Popen(["sleep", "60"], cwd="/", user=Account.current().user) as stranger:
        try:
            for file in (home / "pg-18/data/postmaster.pid", home / "pg-18/run/.s.PGSQL.5432.lock"):
                lines = file.read_text().splitlines()
                file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
            assert ask(server.start().dsn, "select 1") == 1
        finally:
            stranger.kill()


@pytest.mark.fault
def test_a_frozen_server_is_not_started_twice(home: Path) -> None:
    server = Postgres(home, FAST).start()
    frozen = postmaster(home)
    os.kill(frozen, signal.SIGSTOP)
    try:
        with pytest.raises(EmbeddedError, match="did not become ready"):
            Postgres(home, FAST).start(timeout=0.1)
    finally:
        os.kill(frozen, signal.SIGCONT)
    assert postmaster(home) == frozen
    assert server.start().running


def test_a_half_finished_initdb_is_done_again(home: Path, ask: Ask) -> None:
    half = home / "pg-18/data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    assert ask(Postgres(home, FAST).start().dsn, "select 1") == 1
    assert not half.exists()


def test_a_home_with_a_long_path_gets_a_short_socket(home: Path, ask: Ask) -> None:
    server = Postgres(home / ("deep" * 30), FAST)
    sockets = socket_directory(server.dsn)
    try:
        assert ask(server.start().dsn, "select 1") == 1
        assert len(str(sockets)) < 40
        assert sockets.stat().st_mode & 0o777 == 0o700
    finally:
        server.stop()
        shutil.rmtree(sockets)


def test_a_strangers_socket_directory_is_refused(home: Path) -> None:
    server = Postgres(home / ("deep" * 30), FAST)
    sockets = socket_directory(server.dsn)
    sockets.symlink_to(home)
    try:
        with pytest.raises(EmbeddedError, match=f"{sockets} belongs to"):
            server.start()
    finally:
        sockets.unlink()


# Where the programs are copied to the home, initdb itself stumbles over a double quote.
@pytest.mark.parametrize("name", ["it's 100% home", "this, that", pytest.param('"my" home', marks=needs_an_open_place)])
def test_a_home_may_hold_spaces_quotes_and_commas(home: Path, ask: Ask, name: str) -> None:
    server = Postgres(home / name, FAST).start()
    try:
        assert ask(server.dsn, "select 1") == 1
    finally:
        server.stop()
        shutil.rmtree(socket_directory(server.dsn))


def test_a_failed_start_quotes_the_log(home: Path) -> None:
    with pytest.raises(EmbeddedError, match='invalid value for parameter "shared_buffers": "plenty"'):
        Postgres(home, {"shared_buffers": "plenty"}).start()


@pytest.mark.skipif(not DEBIAN.exists(), reason="needs Debian's postgresql-15")
def test_an_older_major_version_has_its_own_directory(home: Path, ask: Ask) -> None:
    server = Postgres(home, FAST, bin_dir=DEBIAN).start()
    assert ask(server.dsn, "show server_version").startswith("15.")
    assert (home / "pg-15/data/PG_VERSION").exists()
    with pytest.raises(EmbeddedError, match=r"holds Postgres 15, .* is 18: set PGQ_PG_BIN"):
        Postgres(home, FAST).start()
