"""`pgq check`: 0, 1 or 2, and a line for whatever is not well."""

from __future__ import annotations

import json

import psycopg
import pytest
from command_line import invoke
from factory import make_queue, make_task, make_worker

# The server of the tests may forget all it likes; nobody does its upkeep.
QUIET = ("--ignore", "durability")


@pytest.fixture
def at_work(conn: psycopg.Connection) -> psycopg.Connection:
    """Return a connection to a database where all is well."""
    make_queue(conn)
    make_worker(conn, tasks=["work"])
    return conn


def checks(conn: psycopg.Connection) -> int:
    """Return how many checks there are without the one that is left out."""
    return conn.execute("select count(*) - 1 from pgq.health").fetchone()[0]


def test_all_is_well(at_work: psycopg.Connection, dsn: str) -> None:
    result = invoke("check", *QUIET, "--dsn", dsn)
    assert (result.exit_code, result.output) == (0, f"ok        {checks(at_work)} checks\n")


def test_a_warning_is_1_and_what_is_critical_2(at_work: psycopg.Connection, dsn: str) -> None:
    make_queue(at_work, "lonely")
    result = invoke("check", *QUIET, "--dsn", dsn)
    assert (result.exit_code, result.output) == (1, "warn      queues: no worker serves lonely\n")
    make_task(at_work, queue="lonely")
    result = invoke("check", *QUIET, "--dsn", dsn)
    assert (result.exit_code, result.output) == (2, "critical  queues: no worker serves lonely (tasks are due)\n")
    assert invoke("check", *QUIET, "--ignore", "queues", "--dsn", dsn).exit_code == 0


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ((), 0),
        (("--max-age", "1h"), 0),
        (("--max-age", "30s"), 2),
        (("--warn-age", "30s", "--max-age", "1h"), 1),
        (("--max-dead", "2"), 0),
        (("--max-dead", "1"), 2),
        (("--warn-dead", "1", "--max-dead", "5"), 1),
        (("--max-age", "30s", "--queue", "other"), 0),
    ],
)
def test_thresholds_of_queues(at_work: psycopg.Connection, dsn: str, options: tuple[str, ...], code: int) -> None:
    make_queue(at_work, "other")
    at_work.execute("update pgq.workers set queues = '{jobs,other}', concurrency = 1, running = 1")
    make_task(at_work, due=-45)
    at_work.execute("insert into pgq.counts (queue, minute, dead) values ('jobs', now(), 2)")
    assert invoke("check", *QUIET, *options, "--dsn", dsn).exit_code == code


def test_every_check_is_there_as_json(at_work: psycopg.Connection, dsn: str) -> None:
    make_task(at_work, due=-5)
    result = invoke("check", *QUIET, "--max-age", "1s", "--json", "--dsn", dsn)
    found = json.loads(result.stdout)
    assert (result.exit_code, len(found)) == (2, checks(at_work) + 1)
    assert {tuple(one) for one in found} == {("name", "status", "message", "value")}
    assert found[-1]["name"] == "age of jobs"


def test_a_database_that_is_not_there_is_critical() -> None:
    result = invoke("check", "--dsn", "postgresql://ada:geheim@127.0.0.1:1/nope")
    assert result.exit_code == 2
    assert result.output.startswith("critical  database: cannot connect: ")
    assert "geheim" not in result.output


def test_a_database_without_the_schema_is_critical(empty_dsn: str) -> None:
    result = invoke("check", "--dsn", empty_dsn)
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert "run `pgq migrate`" in result.output


def test_an_unknown_queue_is_critical(dsn: str) -> None:
    result = invoke("check", "--queue", "nope", "--dsn", dsn)
    assert (result.exit_code, "unknown queue 'nope'" in result.output) == (2, True)
