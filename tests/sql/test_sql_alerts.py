"""The watch: whose turn it is, what fires and recovers, what is told; and what a bad rule does."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from factory import make_task

from pgq.alerts import watch
from pgq.db import Call, run


@pytest.fixture
def rules(conn: psycopg.Connection) -> psycopg.Connection:
    """Return a connection to a database with one target, no rule, and a table of what a rule finds."""
    conn.execute("delete from pgq.alert_rules")
    conn.execute("insert into pgq.queues (name) values ('pgq.alerts')")
    conn.execute("create table pgq.wrong (key text, message text)")
    conn.execute("grant select on pgq.wrong to pgq_monitor")
    add_target(conn, "ops")
    return conn


def add_target(conn: psycopg.Connection, name: str) -> None:
    settings = json.dumps({"url": "http://127.0.0.1/"})
    run(conn, Call("set_alert_target", {"name": name, "kind": "webhook", "settings": settings}))


def add_rule(
    conn: psycopg.Connection, query: str = "select key, message from wrong", name: str = "r", targets: Any = None
) -> None:
    run(conn, Call("set_alert_rule", {"name": name, "query": query, "targets": targets}))


def wrong(conn: psycopg.Connection, *keys: str) -> None:
    conn.execute("truncate pgq.wrong")
    for key in keys:
        conn.execute("insert into pgq.wrong values (%s, %s)", (key, f"{key} is wrong"))


async def turns(aconn: psycopg.AsyncConnection, count: int = 1) -> None:
    for _ in range(count):
        await aconn.execute("update pgq.alert_rules set took = 0")  # else even a quick one rests
        assert await watch.turn(aconn, every=0)


def told(conn: psycopg.Connection) -> list[tuple[str, list[str], list[str]]]:
    """Return the notes in order: the target, the keys that fire, the keys that recovered."""
    rows = conn.execute("select target, body from pgq.alert_notes order by created_at, target").fetchall()
    return [
        (target, [one["key"] for one in body["firing"]], [one["key"] for one in body["recovered"]])
        for target, body in rows
    ]


def error_of(conn: psycopg.Connection, name: str = "r") -> str | None:
    ((error,),) = conn.execute("select error from pgq.alert_rules where name = %s", (name,)).fetchall()
    return error


async def test_a_thing_is_told_once_until_it_has_recovered(
    rules: psycopg.Connection, aconn: psycopg.AsyncConnection
) -> None:
    add_rule(rules)
    for keys in [(), ("a",), ("a",), ("a", "b", "c"), ("b",), (), (), ("a",)]:
        wrong(rules, *keys)
        await turns(aconn)
    assert told(rules) == [
        ("ops", ["a"], []),
        ("ops", ["b", "c"], []),  # what is new of one look is one note
        ("ops", [], ["a", "c"]),
        ("ops", [], ["b"]),
        ("ops", ["a"], []),
    ]


async def test_each_note_is_a_task_of_the_internal_queue(
    rules: psycopg.Connection, aconn: psycopg.AsyncConnection
) -> None:
    add_target(rules, "boss")
    add_rule(rules)
    wrong(rules, "a")
    await turns(aconn)
    assert told(rules) == [("boss", ["a"], []), ("ops", ["a"], [])]
    tasks = rules.execute("select queue, task, payload ->> 'note' from pgq.tasks order by 3").fetchall()
    notes = rules.execute("select id::text from pgq.alert_notes order by 1").fetchall()
    assert tasks == [("pgq.alerts", "pgq.deliver_alert", note) for (note,) in notes]


async def test_a_rule_tells_the_targets_it_names(rules: psycopg.Connection, aconn: psycopg.AsyncConnection) -> None:
    add_target(rules, "boss")
    add_rule(rules, targets=["boss"])
    wrong(rules, "a")
    await turns(aconn)
    assert told(rules) == [("boss", ["a"], [])]


async def test_without_a_target_nothing_is_looked_at(rules: psycopg.Connection, aconn: psycopg.AsyncConnection) -> None:
    rules.execute("delete from pgq.alert_targets")
    add_rule(rules)
    assert not await watch.turn(aconn, every=0)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("select 1 / 0 as message", "division by zero"),
        ("select nothing as message", 'column "nothing" does not exist'),
        ("select 1 as number", "its rows must have a column named message, they have: number"),
        ("select n as key, n as message from generate_series(1, 1001) as n", "it finds more than 1000 things"),
        ("select pg_sleep(60)::text as message", "canceling statement due to statement timeout"),
        ("select pgq.enqueue('pgq.alerts', 't')::text as message", "permission denied"),
        ("select payload::text as message from tasks", "permission denied"),
        ("select 1 as message; drop table wrong", "cannot insert multiple commands into a prepared statement"),
        ("select 'a' as message) as x; commit; drop table wrong; --", "syntax error"),
        ("delete from wrong returning message", "syntax error"),
    ],
)
async def test_a_bad_rule_says_so_stops_no_other_and_keeps_what_it_had_found(
    query: str, error: str, rules: psycopg.Connection, aconn: psycopg.AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgq.alerts.look.PATIENCE", 0.2)
    add_rule(rules)
    wrong(rules, "a")
    await turns(aconn)
    rules.execute("update pgq.alert_rules set query = %s", (query,))
    add_rule(rules, "select 'b' as key, 'also' as message", "other")
    await turns(aconn, 2)
    assert error in (error_of(rules) or "")
    assert told(rules) == [("ops", ["a"], []), ("ops", ["b"], [])]
    assert rules.execute("select count(*) from pgq.alerts where recovered_at is null").fetchone() == (2,)
    rules.execute("update pgq.alert_rules set query = 'select key, message from wrong', took = 0 where name = 'r'")
    await turns(aconn, 2)
    assert error_of(rules) is None


async def test_a_bad_rule_and_a_note_that_was_given_up_are_bad_health_of_which_nobody_is_told(
    rules: psycopg.Connection, aconn: psycopg.AsyncConnection
) -> None:
    def health() -> Any:
        return rules.execute("select status, message from pgq.health where name = 'alerts'").fetchone()

    assert health() == ("ok", "rules are looked at, notes arrive")
    add_rule(rules, "select 1 / 0 as message")
    await turns(aconn)
    assert health() == ("warn", "rule r cannot be looked at: division by zero")
    rules.execute("delete from pgq.alert_rules")
    rules.execute(
        "insert into pgq.alert_notes (rule, target, body, gave_up_at, last_error)"
        " values ('r', 'ops', '{\"firing\": [], \"recovered\": []}', now(), 'no')"
    )
    assert "1 notes could not be delivered in 24 hours" in health()[1]
    add_rule(rules, "select name as key, message from health where status <> 'ok' and name <> 'alerts'", "health")
    await turns(aconn)
    assert "alerts" not in [key for _, keys, _ in told(rules) for key in keys]


async def test_a_rule_that_takes_long_is_looked_at_a_tenth_of_the_time(
    rules: psycopg.Connection, aconn: psycopg.AsyncConnection
) -> None:
    add_rule(rules, "select 'x' as message from pg_sleep(0.2)")
    assert await watch.turn(aconn, every=0.1)
    took = rules.execute("select took from pgq.alert_rules").fetchone()[0]
    assert took > 0.2
    rules.execute("update pgq.alert_rules set ran_at = clock_timestamp() - interval '1 s'")
    assert not await watch.turn(aconn, every=0.1)
    rules.execute("update pgq.alert_rules set ran_at = clock_timestamp() - %s * interval '11 s'", (took,))
    assert await watch.turn(aconn, every=0.1)


async def test_the_rule_that_waits_longest_has_its_turn_and_each_only_when_it_is_due(
    rules: psycopg.Connection, aconn: psycopg.AsyncConnection
) -> None:
    for name in ("a", "b"):
        add_rule(rules, "select 'x' as message where false", name)
    for _ in range(2):
        assert await watch.turn(aconn, every=60)
    assert not await watch.turn(aconn, every=60)
    assert rules.execute("select count(ran_at) from pgq.alert_rules").fetchone() == (2,)


async def test_a_rule_that_somebody_looks_at_is_passed_over(
    rules: psycopg.Connection, aconn: psycopg.AsyncConnection, dsn: str
) -> None:
    add_rule(rules)
    with psycopg.connect(dsn) as other:
        other.execute("select from pgq.alert_rules for update")
        assert not await watch.turn(aconn, every=0)
    assert await watch.turn(aconn, every=0)


async def test_what_is_over_the_limit_of_a_rule_waits_and_goes_together(
    rules: psycopg.Connection, aconn: psycopg.AsyncConnection
) -> None:
    add_rule(rules)
    for round_ in range(watch.PER_RULE + 4):
        wrong(rules, f"k{round_}")
        await turns(aconn)
    assert len(told(rules)) == watch.PER_RULE
    rules.execute("update pgq.alert_notes set created_at = created_at - %s * interval '1 s'", (watch.WINDOW,))
    wrong(rules)
    await turns(aconn)
    ((_, firing, recovered),) = told(rules)[watch.PER_RULE :]
    assert (firing, recovered) == ([], [f"k{n}" for n in range(watch.PER_RULE - 1, watch.PER_RULE + 4)])


async def test_there_is_a_limit_over_all_rules(
    rules: psycopg.Connection, aconn: psycopg.AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "IN_ALL", 3)
    for number in range(5):
        add_rule(rules, f"select '{number}' as key, 'x' as message", f"r{number}")
    await turns(aconn, 5)
    assert len(told(rules)) == 3
    rules.execute("update pgq.alert_notes set created_at = created_at - %s * interval '1 s'", (watch.WINDOW,))
    await turns(aconn, 5)
    assert len(told(rules)) == 5


async def test_a_turn_that_is_cut_off_leaves_nothing_half_done(
    rules: psycopg.Connection, aconn: psycopg.AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_rule(rules)
    wrong(rules, "a")

    async def cut(*_: Any) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as patched:
        patched.setattr(watch, "_tell", cut)
        with pytest.raises(ConnectionResetError):
            await watch.turn(aconn, every=0)
    assert rules.execute("select count(*) from pgq.alerts").fetchone() == (0,)
    await turns(aconn)
    assert told(rules) == [("ops", ["a"], [])]


async def test_a_key_twice_is_one_thing_and_no_key_is_one_too(
    rules: psycopg.Connection, aconn: psycopg.AsyncConnection
) -> None:
    add_rule(rules, "select message from (values ('x'), ('y')) as t (message)", "keyless")
    await turns(aconn)
    wrong(rules, "a", "a")
    assert told(rules) == [("ops", [""], [])]


async def test_a_rule_that_is_removed_ends_what_it_found_and_tells_nobody(
    rules: psycopg.Connection, aconn: psycopg.AsyncConnection
) -> None:
    add_rule(rules)
    wrong(rules, "a")
    await turns(aconn)
    assert run(rules, Call("remove_alert_rule", {"name": "r"})) == [("r",)]
    assert run(rules, Call("remove_alert_rule", {"name": "r"})) == []
    assert rules.execute("select recovered_at is not null from pgq.alerts").fetchall() == [(True,)]
    add_rule(rules)
    await turns(aconn)
    assert [firing for _, firing, _ in told(rules)] == [["a"], ["a"]]


def test_old_alerts_and_notes_are_forgotten(rules: psycopg.Connection) -> None:
    rules.execute(
        "insert into pgq.alerts (rule, key, message, fired_at, recovered_at, told_at, recovery_told_at)"
        " select 'r', d::text, 'm', now() - d * interval '1 day', now() - d * interval '1 day', now(), now()"
        " from unnest(array[1, 31]) as d"
    )
    rules.execute(
        "insert into pgq.alerts (rule, key, message, fired_at) values ('r', 'old', 'm', now() - interval '1 y')"
    )
    rules.execute(
        "insert into pgq.alert_notes (rule, target, body, created_at)"
        " select 'r', 'ops', '{}', now() - d * interval '1 day' from unnest(array[1, 31]) as d"
    )
    assert run(rules, Call("prune_alerts", {"kept": watch.KEPT})) == [(1, 1)]
    assert rules.execute("select count(*) from pgq.alerts where key = 'old'").fetchone() == (1,)


@pytest.mark.parametrize("name", ["dead-letters", "health", "oldest-age", "no-worker"])
async def test_the_rules_that_come_with_it_can_be_looked_at(
    name: str, conn: psycopg.Connection, aconn: psycopg.AsyncConnection
) -> None:
    add_target(conn, "ops")
    conn.execute("insert into pgq.queues (name) values ('pgq.alerts')")
    conn.execute("delete from pgq.alert_rules where name <> %s", (name,))
    await turns(aconn)
    assert error_of(conn, name) is None


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("dead-letters", {"status": "dead", "attempts": 5}),
        ("oldest-age", {"due": -1_000}),
        ("no-worker", {"due": -60}),
    ],
)
async def test_the_rules_that_come_with_it_find_what_they_are_for_but_nothing_of_the_internal_queue(
    name: str, state: dict[str, Any], conn: psycopg.Connection, aconn: psycopg.AsyncConnection
) -> None:
    add_target(conn, "ops")
    conn.execute("delete from pgq.alert_rules where name <> %s", (name,))
    make_task(conn, queue="jobs", **state)
    make_task(conn, queue="pgq.alerts", **state)
    make_task(conn, queue="calm", status="completed")
    await turns(aconn)
    assert told(conn) == [("ops", ["jobs"], [])]
