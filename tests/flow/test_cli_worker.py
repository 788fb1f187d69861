"""`pgq worker` as a process: what it runs, how it ends, and what it says."""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cli_app
import psycopg
import pytest
from command_line import finish, invoke, refuse, start, statuses, until
from factory import task_row

Start = Callable[..., "subprocess.Popen[str]"]
APP = "cli_app:app"


@pytest.fixture
def worker(dsn: str) -> Iterator[Start]:
    """Start workers of the test's app; those still there at the end are killed."""
    started: list[subprocess.Popen[str]] = []

    def start_one(*words: object, **options: Any) -> subprocess.Popen[str]:
        started.append(start("worker", APP, "--poll", "0.2", "--lease", "3", *words, "--dsn", dsn, **options))
        return started[-1]

    yield start_one
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()  # not read to its end: whoever was started by the worker may hold it open
        process.stderr.close()


@pytest.fixture
def declared(conn: psycopg.Connection) -> psycopg.Connection:
    """Return a connection to a database that knows the app's queues."""
    cli_app.app.declare(conn)
    return conn


@pytest.fixture
def waiting(declared: psycopg.Connection, tmp_path: Path) -> int:
    """Return a task that writes the file `begun` and waits for the file `go_on`."""
    return cli_app.wait_for.enqueue(declared, begun=str(tmp_path / "begun"), go_on=str(tmp_path / "go_on"))


def pids(conn: psycopg.Connection) -> set[int]:
    return {pid for (pid,) in conn.execute("select pid from pgq.worker_stats where alive")}


def gone(pid: int) -> bool:
    """Return whether a process has ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_burst_syncs_the_queues_runs_what_is_due_and_ends(
    worker: Start, declared: psycopg.Connection, tmp_path: Path
) -> None:
    ids = [cli_app.note.enqueue(declared, path=str(tmp_path / "notes")) for _ in range(20)]
    declared.execute("delete from pgq.queues where name = 'side'")
    process = worker("--burst")
    code, stdout, _ = finish(process)
    assert (code, stdout) == (0, "")
    assert (tmp_path / "notes").read_text().split() == [str(process.pid)] * 20
    assert set(statuses(declared, *ids)) == {"completed"}
    assert declared.execute("select max_attempts from pgq.queues where name = 'side'").fetchone() == (3,)
    assert pids(declared) == set()


def test_only_the_given_queues_are_served(worker: Start, declared: psycopg.Connection, tmp_path: Path) -> None:
    ours = cli_app.nothing.enqueue(declared)
    other = cli_app.note.enqueue(declared, path=str(tmp_path / "notes"))
    assert finish(worker("--queues", " side,", "--burst"))[0] == 0
    assert statuses(declared, ours, other) == ["completed", "pending"]


def test_options_become_the_settings_of_the_worker(worker: Start, declared: psycopg.Connection, waiting: int) -> None:
    worker("--concurrency", 7)
    until(lambda: statuses(declared, waiting) == ["processing"])
    row = declared.execute("select concurrency, lease, queues from pgq.workers").fetchone()
    assert row == (7, 3.0, ["jobs", "side"])


def test_it_logs_one_readable_line_an_event(worker: Start, declared: psycopg.Connection) -> None:
    task_id = cli_app.fail.enqueue(declared, text="two\nlines \x1b[31m")
    _, _, log = finish(worker("--burst"))
    lines = log.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING) ", line) for line in lines)
    (line,) = [line for line in lines if f"task {task_id} " in line]
    assert line.endswith("(fail) dead: ValueError: two lines  [31m")
    assert any("serves jobs, side" in line for line in lines)


def test_the_log_level_silences_it(worker: Start, declared: psycopg.Connection) -> None:
    cli_app.fail.enqueue(declared, text="no way")
    assert finish(worker("--burst", "--log-level", "error")) == (0, "", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_runs_finish_and_claims_no_more(
    worker: Start, declared: psycopg.Connection, tmp_path: Path, waiting: int, number: signal.Signals
) -> None:
    process = worker("--concurrency", 1)
    until((tmp_path / "begun").exists)
    left = cli_app.note.enqueue(declared, path=str(tmp_path / "notes"))
    process.send_signal(number)
    until(lambda: "finishing what runs" in process.stderr.readline())
    assert process.poll() is None
    (tmp_path / "go_on").touch()
    assert finish(process)[0] == 0
    assert statuses(declared, waiting, left) == ["completed", "pending"]
    assert task_row(declared, left).attempts == 0
    assert pids(declared) == set()


def test_what_does_not_finish_within_the_grace_is_handed_back(
    worker: Start, declared: psycopg.Connection, tmp_path: Path, waiting: int
) -> None:
    process = worker("--grace", "0.1")
    until((tmp_path / "begun").exists)
    process.terminate()
    assert finish(process)[0] == 0
    assert statuses(declared, waiting) == ["pending"]


def test_a_thread_that_a_coroutine_started_cannot_keep_the_worker_alive(
    worker: Start, declared: psycopg.Connection, tmp_path: Path
) -> None:
    files = {"begun": str(tmp_path / "begun"), "go_on": str(tmp_path / "go_on")}
    task_id = cli_app.wait_in_a_thread.enqueue(declared, **files)
    process = worker("--grace", "0.1")
    until((tmp_path / "begun").exists)
    process.terminate()
    code, _, log = finish(process)
    assert code == 0
    assert "did not stop" in log.splitlines()[-1]
    assert statuses(declared, task_id) == ["pending"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(
    worker: Start, tmp_path: Path, waiting: int, declared: psycopg.Connection, number: signal.Signals
) -> None:
    process = worker("--grace", "600")
    until((tmp_path / "begun").exists)
    process.send_signal(number)
    until(lambda: "finishing what runs" in process.stderr.readline())
    process.send_signal(number)
    assert finish(process)[0] == 128 + number
    assert statuses(declared, waiting) == ["processing"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([APP, "--queues", "jobs,nope"], "this app declares no queue 'nope'; it has jobs, side"),
        (["cli_app:empty"], "this app declares no queue"),
        (["cli_app:nothing_here"], "has no pgq.App named 'nothing_here'"),
        (["no_such_module:app"], "no module 'no_such_module'"),
        ([APP, "--concurrency", "0"], "concurrency must be above 0, got 0"),
        ([APP, "--lease", "0"], "lease must be above 0, got 0"),
    ],
)
def test_a_worker_that_cannot_start_is_one_sentence(dsn: str, words: list[str], sentence: str) -> None:
    assert sentence in refuse("worker", *words, "--dsn", dsn)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_worker_without_the_schema_says_to_migrate(empty_dsn: str, processes: str) -> None:
    process = start("worker", APP, "--processes", processes, "--dsn", empty_dsn)
    code, stdout, stderr = finish(process)
    assert (code, stdout) == (1, "")
    assert stderr == "pgq: the schema lacks migration 0001_tables: run `pgq migrate`\n"


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize(
    ("words", "sentence"),
    [([], "queue 'jobs' is limited, which needs Redis"), (["--redis-url", "garbage"], "bad Redis URL 'garbage'")],
)
def test_a_worker_that_cannot_have_its_limiter_ends_before_anybody_sees_it(
    declared: psycopg.Connection, dsn: str, processes: str, words: list[str], sentence: str
) -> None:
    declared.execute("update pgq.queues set concurrency = 3 where name = 'jobs'")
    code, stdout, stderr = finish(start("worker", APP, "--processes", processes, *words, "--dsn", dsn))
    assert (code, stdout, stderr.count("\n")) == (1, "", 1)
    assert stderr.startswith(f"pgq: {sentence}")
    assert declared.execute("select count(*) from pgq.workers").fetchone() == (0,)


@pytest.mark.parametrize("queues", ["", ",", " , "])
def test_a_list_of_no_queue_is_a_usage_error(queues: str) -> None:
    assert "--queues names no queue" in refuse("worker", APP, "--queues", queues, code=2)


def test_a_burst_of_several_processes_is_a_usage_error() -> None:
    assert invoke("worker", APP, "--burst", "--processes", "2").exit_code == 2


def test_a_worker_process_that_is_killed_is_replaced_and_every_task_completes(
    worker: Start, declared: psycopg.Connection, tmp_path: Path, waiting: int
) -> None:
    supervisor = worker("--processes", "2", "--concurrency", "1", "--log-level", "warning")
    before = until(lambda: len(pids(declared)) == 2 and pids(declared))
    assert supervisor.pid not in before
    victim = int(until(lambda: (tmp_path / "begun").exists() and (tmp_path / "begun").read_text()))
    ids = [cli_app.note.enqueue(declared, path=str(tmp_path / "notes")) for _ in range(50)]
    os.kill(victim, signal.SIGKILL)
    after = until(lambda: len(pids(declared) - {victim}) == 2 and pids(declared) - {victim})
    assert before - {victim} < after
    (tmp_path / "go_on").touch()
    until(lambda: set(statuses(declared, waiting, *ids)) == {"completed"})
    assert task_row(declared, waiting).attempts == 2
    assert len((tmp_path / "notes").read_text().split()) == 50
    supervisor.terminate()
    assert finish(supervisor)[0] == 0
    assert all(gone(pid) for pid in after)


def test_worker_processes_end_gracefully_when_their_supervisor_is_killed(
    worker: Start, declared: psycopg.Connection, tmp_path: Path, waiting: int
) -> None:
    supervisor = worker("--processes", "2")
    children = until(lambda: len(pids(declared)) == 2 and pids(declared))
    until((tmp_path / "begun").exists)
    supervisor.kill()
    until(lambda: declared.execute("select array_agg(stopping) from pgq.workers").fetchone() == ([True],))
    (tmp_path / "go_on").touch()
    until(lambda: all(gone(pid) for pid in children))
    assert statuses(declared, waiting) == ["completed"]
    assert pids(declared) == set()


def test_worker_processes_get_all_settings_but_not_the_dsn_as_an_argument(
    worker: Start, declared: psycopg.Connection
) -> None:
    worker("--processes", "2", "--concurrency", 7, "--queues", "jobs")
    children = until(lambda: len(pids(declared)) == 2 and pids(declared))
    for pid in children:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        assert "worker" in words
        assert "--dsn" not in words
    assert declared.execute("select distinct concurrency, lease, queues from pgq.workers").fetchall() == [
        (7, 3.0, ["jobs"])
    ]


@pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="reads /proc as Linux has it")
def test_a_supervisor_of_a_fixed_number_sleeps_until_there_is_a_signal(
    worker: Start, declared: psycopg.Connection
) -> None:
    process = worker("--processes", "2")
    until(lambda: len(pids(declared)) == 2)
    # The fifth argument of the system call that it waits in is the time limit: a null pointer, none.
    until(lambda: Path(f"/proc/{process.pid}/syscall").read_text().split()[5:6] == ["0x0"])
    os.kill(min(pids(declared)), signal.SIGKILL)
    until(lambda: len(pids(declared)) == 2 and process.poll() is None)
    process.terminate()
    assert process.wait(20) == 0
