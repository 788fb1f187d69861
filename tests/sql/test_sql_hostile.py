"""Every function of the schema with arguments that it is not meant to get: a sentence of ours, or nothing strange."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from factory import clock, make_day, make_queue, make_task, make_worker
from hostile_calls import FINE, calls
from stages import claim, complete

from pgq.connect import connect
from pgq.errors import BY_SQLSTATE

# Not called here, by name: a trigger; what sets roles up, which tests/security covers; and parts of functions that are
# called here, which get only what those have checked.
LEFT_OUT = {
    "announce_settings", "grant_monitor", "cancel_proof", "check_restricted", "function_grants", "grant_roles",
    "ids_given", "make_member", "make_role", "missing_grants", "restrict", "restricted_grants", "revoke_public",
    "table_grants", "unrestrict", "check_partition", "enqueue_keyed", "prune_audit",
}  # fmt: skip
SIGNATURES = (
    "select p.proname || '(' || coalesce((select string_agg(format_type(t.type, null), ', ' order by t.place)"
    " from unnest(p.proargtypes) with ordinality as t (type, place)), '') || ')'"
    " from pg_proc as p where p.pronamespace = 'pgq'::regnamespace"
)


@pytest.fixture
def peopled(dsn: str) -> Iterator[psycopg.Connection]:
    """Something of everything, so that functions have something to look at; payloads as text, as for workers."""
    conn = connect(dsn, "test")
    make_queue(conn)
    conn.execute("insert into pgq.limits (name, rate_max, rate_per) values ('customer', 10, 1)")
    for status in ("pending", "processing", "completed", "dead"):
        make_task(conn, status=status, limit_keys=["customer:a"])
    conn.execute("select pgq.sample('jobs')")
    conn.execute("select pgq.make_partition(date '2000-01-01')")
    make_day(conn, -1)
    yield conn
    conn.close()


def test_every_function_has_a_hostile_case(conn: psycopg.Connection) -> None:
    there = {row[0] for row in conn.execute(SIGNATURES)}
    assert {name for name in there if name.partition("(")[0] not in LEFT_OUT} == set(FINE), (
        "write a fine call into tests/sql/hostile_calls.py"
    )


@pytest.mark.parametrize("signature", sorted(FINE))
def test_hostile_arguments_get_a_sentence_of_ours(peopled: psycopg.Connection, signature: str) -> None:
    refused = [(arguments, call, error) for arguments, call in calls(signature) if (error := said(peopled, call))]
    for arguments, call, error in refused:
        assert error.sqlstate in BY_SQLSTATE, f"{call[:300]}: {error.sqlstate} {str(error)[:300]}"
        sentence = error.diag.message_primary
        assert 0 < len(sentence) < 500, call[:300]
        assert "NULL" not in sentence or any("null" in each for each in arguments), sentence


def said(conn: psycopg.Connection, call: str) -> psycopg.Error | None:
    """Make a call that leaves nothing behind; returns the error, if it was one."""
    with conn.transaction(force_rollback=True):
        try:
            conn.execute(call).fetchall()
        except psycopg.Error as error:
            return error
    return None


@pytest.mark.parametrize("signature", sorted(name for name in FINE if name.startswith("enqueue")))
def test_what_a_hostile_enqueue_added_can_be_claimed_and_completed(peopled: psycopg.Connection, signature: str) -> None:
    worker = make_worker(peopled)
    for _, call in calls(signature):
        with peopled.transaction(force_rollback=True):
            peopled.execute("delete from pgq.tasks")
            try:
                with peopled.transaction():
                    peopled.execute(call)
            except psycopg.Error:
                assert peopled.execute("select count(*) from pgq.tasks").fetchone() == (0,), call[:300]
                continue
            names = [row[0] for row in peopled.execute("select distinct task from pgq.tasks")]
            left = peopled.execute("select count(*) from pgq.tasks").fetchone()[0]
            ends = clock(peopled).replace(year=9998)
            tasks = claim(peopled, worker, tasks=names, now=ends, count=100) if names else []
            assert len(tasks) == left, call[:300]
            assert not tasks or len(complete(peopled, *tasks)) == left


NUMBERS = {
    "1e308": True, "1e309": False, "-1E+309": False, "1e-400": True, "0.1e400": False, "1234567890123e299": False,
    "9" * 4300: True, "9" * 4301: False, "9" * 400 + ".5": False, "9" * 400: True, "0." + "1" * 5000: True,
    '"1e400"': True, '"' + "9" * 5000 + '"': True, '"\\"1e999"': True, "[1, 2, 1e999]": False, '{"1e999": 1}': True,
}  # fmt: skip


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number[:20])
def test_a_payload_has_only_numbers_that_a_reader_can_hold(peopled: psycopg.Connection, number: str) -> None:
    error = said(peopled, f"select pgq.enqueue('jobs', 'work', '{{\"a\": {number}}}')::text")
    assert (error is None) == NUMBERS[number]
    assert error is None or "number that is too large" in error.diag.message_primary


@pytest.mark.parametrize("levels", [99, 100, 1000])
def test_a_payload_is_as_deep_by_sql_as_from_python(peopled: psycopg.Connection, levels: int) -> None:
    for opens, closes in (("[", "]"), ('{"a": ', "}"), ("[1, 2, ", "]")):
        payload = f'{{"a": {opens * levels}1{closes * levels}}}'
        error = said(peopled, f"select pgq.enqueue('jobs', 'work', '{payload}')::text")
        assert (error is None) == (levels < 100)
        assert error is None or "at most 100 levels deep" in error.diag.message_primary


def test_many_small_lists_are_not_taken_for_deep_ones_by_sql(peopled: psycopg.Connection) -> None:
    assert said(peopled, f"select pgq.enqueue('jobs', 'work', '{{\"a\": [{'[], {}, ' * 200}[]]}}')::text") is None
