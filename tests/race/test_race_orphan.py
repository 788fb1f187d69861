"""A child process whose parent died while it was starting must not begin the task that was already sent to it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path

from pgq.task import Task
from pgq.wire import encode_task

APP = """
import pgq, pathlib
app = pgq.App()
queue = app.queue("q")
@queue.task(process=True)
def leave_a_mark(path: str) -> None:
    pathlib.Path(path).touch()
"""


def child(folder: Path, *, orphaned: bool = False, parent: int = 0) -> tuple[bytes, int]:
    """Start a child with one task waiting for it; return what it answers and its exit code."""
    (folder / "orphan_app.py").write_text(APP)
    now = datetime.now(UTC)
    payload = f'{{"path": "{folder / "mark"}"}}'
    task = Task("q", uuid.uuid4(), 1, now, "leave_a_mark", 5, payload, 1, 5, 60.0, 0, now)
    ours, theirs = socket.socketpair()
    lifeline, held = os.pipe()
    with ours, theirs:
        ours.sendall(encode_task(task))
        ours.shutdown(socket.SHUT_WR)
        if orphaned:
            os.close(held)
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pgq.child",
                "orphan_app:app",
                *map(str, (theirs.fileno(), lifeline, parent or os.getpid())),
            ],
            pass_fds=(theirs.fileno(), lifeline),
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(Path(__file__).parents[2])))},
            start_new_session=True,
        )
        theirs.close()
        code = process.wait(30)
        try:
            answer = ours.recv(65_536)
        except ConnectionResetError:  # it ended without reading its task
            answer = b""
    os.close(lifeline)
    if not orphaned:
        os.close(held)
    return answer, code


def test_a_child_orphaned_while_it_starts_runs_nothing(tmp_path: Path) -> None:
    answer, code = child(tmp_path, orphaned=True)
    assert answer == b""
    assert code != 0
    assert not (tmp_path / "mark").exists()


def test_a_child_given_to_another_parent_runs_nothing_though_its_lifeline_is_held(tmp_path: Path) -> None:
    answer, code = child(tmp_path, parent=os.getppid())
    assert b"Done" not in answer
    assert code != 0
    assert not (tmp_path / "mark").exists()


def test_a_child_with_a_parent_runs_its_task(tmp_path: Path) -> None:
    answer, code = child(tmp_path)
    assert b"Done" in answer
    assert code == 0
    assert (tmp_path / "mark").exists()
