"""Limit keys and weights by plain SQL, and the limits that code declares: declare_limit, limit_settings."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from factory import insert, make_queue, make_task, task_row

from pgq.db import Call, run

MALFORMED = "a limit key must look like 'kind:key', at most 200 printable characters, got "


@pytest.fixture(autouse=True)
def queue(conn: psycopg.Connection) -> None:
    make_queue(conn)
    insert(conn, "limits", {"name": "host", "concurrency": 2})
    insert(conn, "limits", {"name": "customer", "rate_max": 10, "rate_per": 60})


def enqueue(conn: psycopg.Connection, arguments: str) -> Any:
    (task_id,) = conn.execute(f"select pgq.enqueue('jobs', 'work', {arguments})").fetchone()
    return task_row(conn, task_id)


def declare(conn: psycopg.Connection, name: str, **declared: Any) -> Any:
    columns = {"rate_max": None, "rate_per": None, "concurrency": None, **declared}
    return run(conn, Call("declare_limit", {"name": name, "declared": json.dumps(columns)}))


@pytest.mark.parametrize("payload", ["'{}'", "'{}'::text", "'{}'::jsonb", "'{}'::json"])
def test_keys_and_weight_are_stored_for_every_kind_of_payload(conn: psycopg.Connection, payload: str) -> None:
    row = enqueue(conn, f"{payload}, limit_keys => array['customer:acme', 'host:a'], weight => 3")
    assert (row.limit_keys, row.weight, row.bounces, row.throttled_by) == (["customer:acme", "host:a"], 3, 0, None)


def test_without_keys_a_task_is_under_none(conn: psycopg.Connection) -> None:
    row = enqueue(conn, "limit_keys => null, weight => null")
    assert (row.limit_keys, row.weight) == (None, None)


def test_a_weight_of_one_is_stored_as_none(conn: psycopg.Connection) -> None:
    row = enqueue(conn, "limit_keys => array['host:a'], weight => 1")
    assert (row.limit_keys, row.weight) == (["host:a"], None)


def test_many_are_all_under_the_keys_given(conn: psycopg.Connection) -> None:
    call = "select pgq.enqueue_many('jobs', 'work', array['{}', '{}']::jsonb[], limit_keys => '{host:a}', weight => 2)"
    rows = [task_row(conn, task_id) for (task_id,) in conn.execute(call).fetchall()]
    assert [(row.limit_keys, row.weight) for row in rows] == [(["host:a"], 2)] * 2


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("array['host:b', 'host:a', 'host:b']", ["host:b", "host:a"]),
        ("array[['host:a', 'host:b'], ['host:c', 'host:a']]", ["host:a", "host:b", "host:c"]),
        ("'[5:6]={host:a,host:b}'", ["host:a", "host:b"]),
        ("array['host:a:b c', 'host: ', 'host:é']", ["host:a:b c", "host: ", "host:é"]),
        ("array['host:' || repeat('x', 195)]", ["host:" + "x" * 195]),
        ("array(select 'host:' || n from generate_series(1, 8) as n)", [f"host:{n}" for n in range(1, 9)]),
    ],
)
def test_keys_are_a_plain_list_each_once(conn: psycopg.Connection, given: str, stored: list[str]) -> None:
    assert enqueue(conn, f"limit_keys => {given}").limit_keys == stored


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("weight => 0", "weight must be at least 1, got 0"),
        ("weight => -1, limit_keys => '{host:a}'", "weight must be at least 1, got -1"),
        ("limit_keys => '{}'", "limit_keys must be 1 to 8 keys, got 0"),
        (
            "limit_keys => array(select 'host:' || n from generate_series(1, 9) as n)",
            "limit_keys must be 1 to 8 keys, got 9",
        ),
        ("limit_keys => '{acme}'", MALFORMED + "'acme'"),
        ("limit_keys => '{host:a,:b}'", MALFORMED + "':b'"),
        ("limit_keys => '{host:}'", MALFORMED + "'host:'"),
        ("limit_keys => '{host:a,null}'", MALFORMED + "NULL"),
        ("limit_keys => array['']", MALFORMED + "''"),
        (
            r"limit_keys => array[E'host:a\n']",
            MALFORMED + "'host:a\n'",
        ),
        (
            "limit_keys => array['host:' || repeat('x', 196)]",
            MALFORMED + "'host:" + "x" * 75 + "'",
        ),
        ("limit_keys => '{custmer:a}'", "limit key 'custmer:a' is of no declared kind, there are: customer, host"),
        ("limit_keys => '{Host:a}'", "limit key 'Host:a' is of no declared kind, there are: customer, host"),
        (
            "limit_keys => '{host:a,customer:a}', weight => 11",
            "weight must be at most 10, the rate of limit 'customer', got 11",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(conn: psycopg.Connection, arguments: str, complaint: str) -> None:
    many = f"select pgq.enqueue_many('jobs', 'work', array['{{}}']::jsonb[], {arguments})"
    for call in (f"select pgq.enqueue('jobs', 'work', {arguments})", many):
        with pytest.raises(psycopg.Error) as caught:
            conn.execute(call)
        assert (caught.value.sqlstate, caught.value.diag.message_primary) == ("PQ002", complaint)
    assert conn.execute("select count(*) from pgq.tasks").fetchone() == (0,)


def test_an_unknown_kind_comes_with_a_hint_even_where_there_is_none(conn: psycopg.Connection) -> None:
    conn.execute("delete from pgq.limits")
    with pytest.raises(psycopg.Error, match="limit key 'host:a' is of no declared kind, there are: none") as caught:
        enqueue(conn, "limit_keys => '{host:a}'")
    assert caught.value.diag.message_hint == "Declare it in code and run: pgq queues sync module:app"


def test_a_rate_lowered_by_hand_refuses_no_weight_that_code_allows(conn: psycopg.Connection) -> None:
    declare(conn, "customer", rate_max=10, rate_per=60)
    conn.execute("update pgq.limits set rate_max = 1 where name = 'customer'")
    assert enqueue(conn, "limit_keys => '{customer:a}', weight => 10").weight == 10
    with pytest.raises(psycopg.Error, match="weight must be at most 10, the rate of limit 'customer', got 11"):
        enqueue(conn, "limit_keys => '{customer:a}', weight => 11")


def test_a_rate_raised_or_taken_away_by_hand_allows_more(conn: psycopg.Connection) -> None:
    declare(conn, "customer", rate_max=10, rate_per=60)
    conn.execute("update pgq.limits set rate_max = 20 where name = 'customer'")
    assert enqueue(conn, "limit_keys => '{customer:a}', weight => 20").weight == 20
    conn.execute("update pgq.limits set rate_max = null, rate_per = null, concurrency = 1 where name = 'customer'")
    assert enqueue(conn, "limit_keys => '{customer:a}', weight => 1000").weight == 1000


@pytest.mark.parametrize("on_conflict", ["skip", "return_existing"])
def test_a_holder_that_stays_keeps_its_limits(conn: psycopg.Connection, on_conflict: str) -> None:
    holder = make_task(conn, unique_key="k", limit_keys=["host:a"], weight=2, bounces=4, throttled_by="host:a")
    before = task_row(conn, holder)
    call = "select pgq.enqueue('jobs', 'work', unique_key => 'k', on_conflict => %s, limit_keys => '{host:b}')"
    conn.execute(call, (on_conflict,))
    assert task_row(conn, holder) == before


def test_replace_gives_the_task_that_waits_new_limits_and_a_clean_slate(conn: psycopg.Connection) -> None:
    holder = make_task(conn, unique_key="k", limit_keys=["host:a"], weight=2, bounces=4, throttled_by="host:a")
    arguments = "unique_key => 'k', on_conflict => 'replace', limit_keys => '{customer:b}', weight => 5"
    row = enqueue(conn, arguments)
    assert row.id == holder
    assert (row.limit_keys, row.weight, row.bounces, row.throttled_by) == (["customer:b"], 5, 0, None)


def test_replace_behind_a_holder_that_runs_leaves_its_limits_alone(conn: psycopg.Connection) -> None:
    running = make_task(conn, status="processing", unique_key="k", limit_keys=["host:a"], weight=2)
    row = enqueue(conn, "unique_key => 'k', on_conflict => 'replace', limit_keys => '{host:b}'")
    assert (row.limit_keys, row.weight) == (["host:b"], None)
    before = task_row(conn, running)
    assert (before.limit_keys, before.weight) == (["host:a"], 2)


def test_a_declared_limit_reads_back_as_it_was_declared(conn: psycopg.Connection) -> None:
    assert declare(conn, "zone", rate_max=5, rate_per=0.5, concurrency=1) == [("limit zone",)]
    assert run(conn, Call("limit_settings", {})) == [
        ("customer", 10, 60.0, None),
        ("host", None, None, 2),
        ("zone", 5, 0.5, 1),
    ]


def test_declaring_the_same_limit_again_writes_nothing(conn: psycopg.Connection) -> None:
    declare(conn, "host", concurrency=3)
    before = conn.execute("select *, xmin from pgq.limits order by name").fetchall()
    assert declare(conn, "host", concurrency=3) == []
    assert conn.execute("select *, xmin from pgq.limits order by name").fetchall() == before


def test_a_limit_changed_by_hand_stays_until_the_code_changes(conn: psycopg.Connection) -> None:
    assert declare(conn, "host", concurrency=3) == [("limit host",)]
    conn.execute("update pgq.limits set concurrency = 1 where name = 'host'")
    declare(conn, "host", concurrency=3)
    assert run(conn, Call("limit_settings", {}))[1] == ("host", None, None, 1)
    assert declare(conn, "host", rate_max=2, rate_per=1) == [("limit host",)]
    assert run(conn, Call("limit_settings", {}))[1] == ("host", 2, 1.0, None)


def test_a_changed_declaration_is_announced(conn: psycopg.Connection, direct_dsn: str) -> None:
    with psycopg.connect(direct_dsn, autocommit=True) as worker:
        worker.execute("listen pgq")
        declare(conn, "host", concurrency=3)
        assert [notice.payload for notice in worker.notifies(timeout=10, stop_after=1)] == ["settings:"]


@pytest.mark.parametrize(
    "columns",
    [
        {"name": "", "concurrency": 1},
        {"name": "a:b", "concurrency": 1},
        {"name": "x" * 101, "concurrency": 1},
        {"name": "x", "concurrency": 0},
        {"name": "x", "rate_max": 1},
        {"name": "x", "rate_per": 1},
        {"name": "x", "rate_max": 0, "rate_per": 1},
        {"name": "x", "rate_max": 1, "rate_per": 0},
    ],
)
def test_the_table_refuses_limits_that_make_no_sense(conn: psycopg.Connection, columns: dict[str, Any]) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        insert(conn, "limits", columns)
