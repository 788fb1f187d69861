"""The SQL door: pgq.enqueue from any language, here from psql and asyncpg."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import UTC, datetime
from typing import Any

import asyncpg
import psycopg
import pytest
from doors import asyncpg_arguments
from enqueue_app import app, ids, rows

from pgq.embedded.binaries import find_postgres


@pytest.fixture(autouse=True)
def _declared(conn: psycopg.Connection) -> None:
    app.declare(conn)


def psql(dsn: str, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script as a user's shell would; variables are given to psql by the environment."""
    beside = find_postgres() / "psql"
    program = str(beside) if beside.is_file() and os.access(beside, os.X_OK) else shutil.which("psql")
    assert program is not None, "no psql beside the server and none on PATH"
    command = [program, dsn, "-qXAt", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose"]
    return subprocess.run(
        command, input=script, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def test_psql_finds_its_way(dsn: str) -> None:
    answer = psql(dsn, """select pgq.enqueue('mail', 'send', '{"to": "ada"}');""")
    assert (answer.returncode, answer.stderr) == (0, "")
    (row,) = rows(dsn)
    assert row["id"] == int(answer.stdout)
    assert (row["queue"], row["task"], row["payload"]) == ("mail", "send", '{"to": "ada"}')
    assert (row["priority"], row["status"], row["attempts"]) == (5, "pending", 0)
    assert (row["max_attempts"], row["timeout"], row["unique_key"]) == (3, 30.0, None)


def test_a_transaction_of_psql_takes_its_tasks_along(dsn: str) -> None:
    script = """
        begin;
        create table orders (id integer);
        select pgq.enqueue('mail', 'send', '{"to": "gone"}');
        rollback;
        begin;
        select pgq.enqueue('mail', 'send', '{"to": "kept"}');
        savepoint s;
        select pgq.enqueue('mail', 'send', '{"to": "gone too"}');
        rollback to s;
        commit;
    """
    assert psql(dsn, script).returncode == 0
    assert [row["payload"] for row in rows(dsn)] == ['{"to": "kept"}']


def test_a_script_that_fails_in_a_transaction_leaves_nothing(dsn: str) -> None:
    answer = psql(dsn, "begin; select pgq.enqueue('mail', 'send'); select 1/0; commit;")
    assert "division by zero" in answer.stderr
    assert rows(dsn) == []


@pytest.mark.parametrize(
    ("call", "state", "message"),
    [
        ("'ghost', 'send'", "PQ001", "unknown queue 'ghost'"),
        ("null, 'send'", "PQ001", "unknown queue NULL"),
        ("'mail', 'send', priority => 11", "PQ002", "priority must be 0 to 10, got 11"),
        ("'mail', 'send', priority => null", "PQ002", "priority must be 0 to 10, got null"),
        ("'mail', ''", "PQ002", "task must be 1 to 200 characters, got 0"),
        ("'mail', null", "PQ002", "task must be 1 to 200 characters, got null"),
        ("'mail', 'send', '[1]'", "PQ002", "payload must be a JSON object, got array"),
        ("'mail', 'send', '{'", "PQ002", "payload is no valid JSON"),
        ("'mail', 'send', '{\"a\": \"\\u0000\"}'", "PQ002", "payload is no valid JSON"),
        ("'mail', 'send', '{\"a\": \"\\ud800\"}'", "PQ002", "payload is no valid JSON"),
        ("'mail', 'send', max_attempts => 0", "PQ002", "max_attempts must be at least 1, got 0"),
        ("'mail', 'send', timeout => 0", "PQ002", "timeout must be above 0 seconds, got 0"),
        ("'mail', 'send', unique_key => ''", "PQ002", "unique_key must be 1 to 500 characters, got 0"),
        ("'mail', 'send', scheduled_at => 'infinity'", "PQ002", "scheduled_at must be finite"),
        ("'mail', 'send', delay => '1 s', scheduled_at => now()", "PQ002", "give delay or scheduled_at, not both"),
        ("'mail', 'send', on_conflict => 'ask'", "PQ002", "on_conflict must be raise, skip, replace"),
    ],
)
def test_what_is_wrong_is_named_with_a_code(dsn: str, call: str, state: str, message: str) -> None:
    answer = psql(dsn, f"select pgq.enqueue({call});")
    assert f"ERROR:  {state}: {message}" in answer.stderr
    assert rows(dsn) == []


def test_an_unknown_queue_comes_with_a_hint(dsn: str) -> None:
    assert "HINT:  Declare it in code" in psql(dsn, "select pgq.enqueue('ghost', 'send');").stderr


def test_a_taken_key_has_its_own_code(dsn: str) -> None:
    call = "select pgq.enqueue('mail', 'send', unique_key => 'k');"
    assert psql(dsn, call).returncode == 0
    answer = psql(dsn, call)
    (holder,) = ids(dsn)
    assert f"ERROR:  PQ003: unique_key 'k' of queue 'mail' is held by task {holder}" in answer.stderr
    assert psql(dsn, call.replace(")", ", on_conflict => 'skip')")).stdout == "\n"
    assert psql(dsn, call.replace(")", ", on_conflict => 'return_existing')")).stdout == f"{holder}\n"


def test_one_call_per_row_of_a_query(dsn: str) -> None:
    script = """
        create table customers (email text);
        insert into customers select 'c' || n from generate_series(1, 100) as n;
        select count(pgq.enqueue('mail', 'send', jsonb_build_object('to', email), priority => 0)) from customers;
    """
    assert psql(dsn, script).stdout == "100\n"
    found = rows(dsn)
    assert {row["priority"] for row in found} == {0}
    assert sorted(json.loads(row["payload"])["to"] for row in found) == sorted(f"c{n}" for n in range(1, 101))


def test_many_at_once_keep_their_order(dsn: str) -> None:
    script = """
        select pgq.enqueue_many('mail', 'send', array_agg(jsonb_build_object('to', n) order by n desc), delay => '1 h')
        from generate_series(1, 50) as n;
    """
    answer = psql(dsn, script)
    added = [int(line) for line in answer.stdout.split()]
    there = {row["id"]: json.loads(row["payload"])["to"] for row in rows(dsn)}
    assert [there[task_id] for task_id in added] == list(range(50, 0, -1))


def test_a_trigger_can_enqueue(dsn: str) -> None:
    script = """
        create table orders (id integer);
        create function welcome() returns trigger language plpgsql as $$
        begin
          perform pgq.enqueue('mail', 'send', json_build_object('to', new.id)::text);
          return new;
        end $$;
        create trigger welcome after insert on orders for each row execute function welcome();
        insert into orders values (7), (8);
    """
    assert psql(dsn, script).stderr == ""
    assert [json.loads(row["payload"]) for row in rows(dsn)] == [{"to": 7}, {"to": 8}]


async def test_asyncpg_can_call_the_function_itself(dsn: str) -> None:
    conn = await asyncpg.connect(**asyncpg_arguments(dsn))
    moment = datetime(2091, 1, 1, tzinfo=UTC)
    call = "select pgq.enqueue('mail', 'send', $1::text, priority => $2, scheduled_at => $3, unique_key => $4)"
    arguments: tuple[Any, ...] = ('{"to":"a"}', 0, moment, "k")
    async with conn.transaction():
        task_id = await conn.fetchval(call, *arguments)
        with pytest.raises(asyncpg.PostgresError) as caught:
            async with conn.transaction():
                await conn.fetchval(call, *arguments)
    assert caught.value.sqlstate == "PQ003"
    (row,) = rows(dsn)
    assert (row["id"], row["priority"], row["scheduled_at"], row["unique_key"]) == (task_id, 0, moment, "k")
    transaction = conn.transaction()
    await transaction.start()
    await conn.fetchval("select pgq.enqueue('mail', 'send')")
    await transaction.rollback()
    await conn.close()
    assert ids(dsn) == [task_id]


def test_a_megabyte_passes_and_one_byte_more_does_not(conn: psycopg.Connection, dsn: str) -> None:
    body = json.dumps({"to": "x" * (1_048_576 - len('{"to": ""}'))})
    call = "select pgq.enqueue('mail', 'send', %s)"
    conn.execute(call, (body,))
    with pytest.raises(psycopg.Error, match="payload must be at most 1048576 bytes, got 1048577"):
        conn.execute(call, (body + " ",))
    assert len(ids(dsn)) == 1
