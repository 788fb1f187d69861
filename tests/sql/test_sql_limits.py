"""limit_stats, write_usage, prune_usage: what is kept of limits, and what is shown of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from factory import clock, insert, make_queue
from psycopg.rows import dict_row

from pgq.db import Call, run


def write(conn: psycopg.Connection, *seen: tuple[str, int, int, float | None, int]) -> list[str]:
    """Write down name, used, running, wait and denied of limits."""
    columns = zip(*seen, strict=True) if seen else ([], [], [], [], [])
    values = dict(zip(("names", "used", "running", "waits", "denied"), map(list, columns), strict=True))
    return sorted(name for (name,) in run(conn, Call("write_usage", values)))


def stats(conn: psycopg.Connection, name: str) -> Any:
    """Return the one row of a limit, without `seen_at`; None when there is none."""
    rows = conn.cursor(row_factory=dict_row).execute("select * from pgq.limit_stats where name = %s", (name,))
    found = rows.fetchall()
    assert len(found) <= 1
    return {key: value for key, value in found[0].items() if key != "seen_at"} if found else None


def saw(conn: psycopg.Connection, name: str, *, ago: float = 0.0, denied: int = 0, **columns: Any) -> None:
    """Write down that a limit was seen so many seconds ago."""
    seen_at = clock(conn) - timedelta(seconds=ago)
    insert(
        conn, "limit_usage", {"name": name, "used": 1, "running": 0, "denied": denied, "seen_at": seen_at, **columns}
    )


def names(conn: psycopg.Connection) -> list[str]:
    return [name for (name,) in conn.execute("select name from pgq.limit_usage order by name")]


def prune(conn: psycopg.Connection) -> list[str]:
    return sorted(name for (name,) in run(conn, Call("prune_usage", {})))


def test_a_limited_queue_is_there_before_anybody_saw_it(conn: psycopg.Connection) -> None:
    make_queue(conn, "mail", rate_max=100, rate_per=60, concurrency=5)
    assert stats(conn, "queue:mail") == {
        "name": "queue:mail", "kind": "queue", "key": "mail", "rate_max": 100, "rate_per": 60, "concurrency": 5,
        "used": None, "running": None, "throttled_until": None, "denied": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "there"), [({}, False), ({"concurrency": 1}, True), ({"rate_max": 1, "rate_per": 1}, True)]
)
def test_a_queue_is_there_when_it_has_a_rate_or_a_concurrency(
    conn: psycopg.Connection, settings: dict[str, int], there: bool
) -> None:
    make_queue(conn, "mail", **settings)
    write(conn, ("queue:mail", 1, 1, None, 0))
    assert (stats(conn, "queue:mail") is not None) is there


def test_what_was_seen_comes_with_the_settings_of_now(conn: psycopg.Connection) -> None:
    make_queue(conn, "a:b", rate_max=100, rate_per=60)
    insert(conn, "limits", {"name": "customer", "concurrency": 2})
    write(conn, ("queue:a:b", 40, 3, 7.5, 0), ("customer:acme:eu", 9, 2, None, 12))
    conn.execute("update pgq.limits set concurrency = 4")
    assert stats(conn, "customer:acme:eu") == {
        "name": "customer:acme:eu", "kind": "customer", "key": "acme:eu", "rate_max": None, "rate_per": None,
        "concurrency": 4, "used": 9, "running": 2, "throttled_until": None, "denied": 12,
    }  # fmt: skip
    queue = stats(conn, "queue:a:b")
    assert (queue["key"], queue["used"], queue["running"]) == ("a:b", 40, 3)
    assert timedelta(seconds=6) < queue["throttled_until"] - clock(conn) <= timedelta(seconds=7.5)


def test_a_key_whose_kind_is_gone_is_shown_without_a_limit(conn: psycopg.Connection) -> None:
    write(conn, ("host:a", 1, 0, None, 3))
    row = stats(conn, "host:a")
    assert (row["rate_max"], row["concurrency"], row["denied"]) == (None, None, 3)


def test_a_moment_that_has_passed_throttles_nobody(conn: psycopg.Connection) -> None:
    saw(conn, "host:a", free_at=clock(conn) - timedelta(seconds=1))
    assert stats(conn, "host:a")["throttled_until"] is None


def test_writing_again_takes_the_place_of_what_was_seen(conn: psycopg.Connection) -> None:
    saw(conn, "host:a", ago=100, denied=7, free_at=clock(conn))
    assert write(conn, ("host:a", 3, 1, None, 9), ("host:b", 0, 0, 0.0, 0)) == ["host:a", "host:b"]
    row = conn.execute("select used, running, free_at, denied, seen_at from pgq.limit_usage where name = 'host:a'")
    *seen, seen_at = row.fetchone()
    assert seen == [3, 1, None, 9]
    assert clock(conn) - seen_at < timedelta(seconds=50)


def test_writing_nothing_is_no_error(conn: psycopg.Connection) -> None:
    assert write(conn) == []


def test_keys_that_were_not_seen_for_an_hour_are_forgotten(conn: psycopg.Connection) -> None:
    saw(conn, "host:old", ago=3700)
    saw(conn, "host:new", ago=3500)
    assert prune(conn) == ["host:old"]
    assert names(conn) == ["host:new"]


def test_queues_that_are_there_are_not_forgotten(conn: psycopg.Connection) -> None:
    make_queue(conn, "mail")
    saw(conn, "queue:mail", ago=90_000)
    saw(conn, "queue:gone", ago=90_000)
    assert prune(conn) == ["queue:gone"]


def test_the_keys_that_deny_most_are_kept_for_a_day(conn: psycopg.Connection) -> None:
    for number in range(101):
        saw(conn, f"host:{number}", ago=3700, denied=1 + number)
    saw(conn, "host:yesterday", ago=86_500, denied=500)
    assert prune(conn) == ["host:0", "host:1", "host:yesterday"]


def test_the_view_reads_no_tasks(conn: psycopg.Connection) -> None:
    ((document,),) = conn.execute("explain (format json) select * from pgq.limit_stats").fetchall()
    assert {node["Relation Name"] for node in nodes(document[0]["Plan"]) if "Relation Name" in node} == {
        "queues",
        "limits",
        "limit_usage",
    }


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", []):
        yield from nodes(inner)


def test_the_view_and_each_of_its_columns_have_a_comment(conn: psycopg.Connection) -> None:
    missing = conn.execute(
        "select n from generate_series(0, (select max(attnum) from pg_attribute"
        " where attrelid = 'pgq.limit_stats'::regclass)) as n"
        " where (case n when 0 then obj_description('pgq.limit_stats'::regclass, 'pg_class')"
        " else col_description('pgq.limit_stats'::regclass, n) end) is null"
    ).fetchall()
    assert missing == []


def test_a_kind_is_made_changed_and_read_under_its_lock(conn: psycopg.Connection) -> None:
    def settings() -> Any:
        return run(conn, Call("lock_limit", {"name": "host"}))

    assert settings() == []
    rate = {"rate_max": 5, "rate_per": 1.5, "concurrency": None}
    for values in (rate, {"rate_max": None, "rate_per": None, "concurrency": 3}):
        assert run(conn, Call("set_limit", {"name": "host", **values})) == [("host",)]
        assert settings() == [tuple(values.values())]


def test_a_change_by_hand_leaves_on_record_what_the_code_declared(conn: psycopg.Connection) -> None:
    insert(conn, "limits", {"name": "host", "concurrency": 1, "declared": json.dumps({"concurrency": 1})})
    run(conn, Call("set_limit", {"name": "host", "rate_max": None, "rate_per": None, "concurrency": 9}))
    assert conn.execute("select concurrency, declared from pgq.limits").fetchone() == (9, {"concurrency": 1})
