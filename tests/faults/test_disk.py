"""The disk of Postgres is full, and then it is not."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from fault_app import work
from fleet import Fleet, eventually
from ledger import Drained, Ledger
from producers import producing

from pgq import embedded

pytestmark = pytest.mark.fault

SMALL = {"max_connections": 60, "shared_buffers": "16MB", "max_wal_size": "64MB", "min_wal_size": "32MB"}
SIZE = "160m"


@contextmanager
def mounted() -> Iterator[Path]:
    """Mount a small file system and return where; the test is skipped where that is not allowed."""
    place = Path(tempfile.mkdtemp(prefix="pgq-disk-", dir="/tmp"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=755", "tmpfs", place]
    if os.geteuid() != 0 or not shutil.which("mount") or subprocess.run(mount, check=False).returncode != 0:
        place.rmdir()
        pytest.skip("this process may not mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)
        place.rmdir()


@pytest.fixture(params=["data", "wal"])
def small(request: pytest.FixtureRequest) -> Iterator[tuple[embedded.Postgres, Path]]:
    """Return a server whose data, or whose write-ahead log, lies on a small file system, and that one's place."""
    with mounted() as disk, tempfile.TemporaryDirectory(prefix="pgq-faults-", dir="/tmp") as room:
        Path(room).chmod(0o755)
        home, wal = (disk, Path(room)) if request.param == "data" else (Path(room), disk)
        server = embedded.Postgres(home, SMALL).start()
        server.stop()
        (log,) = home.glob("pg-*/data/pg_wal")
        elsewhere = wal / "wal"
        shutil.move(log, elsewhere)
        for path in (elsewhere, *elsewhere.rglob("*")):
            shutil.chown(path, log.parent.owner(), log.parent.group())
        log.symlink_to(elsewhere)
        try:
            yield server.start(), disk
        finally:
            embedded.down(home)


@pytest.fixture
def postgres(small: tuple[embedded.Postgres, Path]) -> embedded.Postgres:
    """Return that server, for the other fixtures."""
    return small[0]


def refused(dsn: str) -> bool:
    """Return whether an enqueue of some size fails."""
    try:
        with psycopg.connect(dsn, connect_timeout=5) as conn:
            work.enqueue(conn, key=os.urandom(50_000).hex())  # which no compression makes small
            conn.rollback()
    except psycopg.Error:
        return True
    return False


def fill(disk: Path) -> Path:
    """Leave no byte free."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 20, 1 << 12):
            with contextlib.suppress(OSError):
                while True:
                    file.write(os.urandom(size))
    return ballast


def test_a_full_disk_refuses_new_tasks_and_loses_none_that_it_took(
    small: tuple[embedded.Postgres, Path],
    fleet: Fleet,
    ledger: Ledger,
    drained: Drained,
    measured: Callable[[str], None],
    lasting: Callable[[float], float],
) -> None:
    server, disk = small
    fleet.staff(2)
    with producing(fleet.dsn, ledger, rate=60):
        eventually(lambda: len(ledger.read("end")) > 50, 30, "work")
        ballast = fill(disk)
        eventually(lambda: bool(fill(disk)) and refused(fleet.dsn), 60, "a refusal")
        time.sleep(lasting(5))  # the others notice too
        ballast.unlink()
        server.start()  # without room for its log it ends
        eventually(ledger.further("end", 50), 40, "work afterwards")
    account = drained(60)
    said = [line for line in fleet.log.splitlines() if "No space left" in line or "disk" in line.lower()]
    measured(f"workers said {len(said)} times that the disk is full")
    assert account.clean, account
    assert all(process.poll() is None for process in fleet.processes)
