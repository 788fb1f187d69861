"""declare, settings, queue_names: what code says about queues, and what the table keeps."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from factory import make_queue

from pgq.db import Call, run
from pgq.queue import Settings

SEED = Settings(name="webhooks", timeout=15.0, delay=1.0, concurrency=10, rate_max=50, rate_per=10.0)


def declare(conn: psycopg.Connection, settings: Settings) -> Any:
    return run(conn, Call("declare", {"name": settings.name, "declared": settings.declared()}))


def settings(conn: psycopg.Connection, *names: Any) -> Any:
    return [Settings.from_row(row) for row in run(conn, Call("settings", {"queues": list(names)}))]


def changed(base: Settings, **changes: Any) -> Any:
    return Settings(**{**{name: getattr(base, name) for name in Settings.__slots__}, **changes})


def test_a_declaration_reads_back_as_it_was_declared(conn: psycopg.Connection) -> None:
    assert declare(conn, SEED) == [("webhooks",)]
    (stored,) = settings(conn, "webhooks")
    assert stored == changed(SEED, bell=stored.bell)


def test_declaring_the_same_again_writes_nothing(conn: psycopg.Connection) -> None:
    declare(conn, SEED)
    before = conn.execute("select *, xmin from pgq.queues").fetchall()
    assert declare(conn, SEED) == []
    assert conn.execute("select *, xmin from pgq.queues").fetchall() == before


def test_a_setting_changed_by_hand_stays_until_the_code_changes(conn: psycopg.Connection) -> None:
    declare(conn, SEED)
    conn.execute("update pgq.queues set concurrency = 2")
    declare(conn, SEED)
    assert settings(conn, "webhooks")[0].concurrency == 2
    assert declare(conn, changed(SEED, timeout=20.0)) == [("webhooks",)]
    (stored,) = settings(conn, "webhooks")
    assert (stored.concurrency, stored.timeout) == (10, 20.0)


def test_a_new_declaration_leaves_bell_and_pause_alone(conn: psycopg.Connection) -> None:
    declare(conn, SEED)
    conn.execute("select pgq.pause('webhooks')")
    (before,) = settings(conn, "webhooks")
    declare(conn, changed(SEED, max_attempts=9))
    (after,) = settings(conn, "webhooks")
    assert (after.bell, after.paused, after.max_attempts) == (before.bell, True, 9)


def test_a_queue_made_by_hand_is_taken_over_by_its_first_declaration(conn: psycopg.Connection) -> None:
    make_queue(conn, "webhooks", timeout=1)
    assert declare(conn, SEED) == [("webhooks",)]
    assert settings(conn, "webhooks")[0].timeout == 15.0


def test_every_queue_has_a_bell_of_its_own(conn: psycopg.Connection) -> None:
    for name in ("a", "b", "c"):
        make_queue(conn, name)
    assert len({stored.bell for stored in settings(conn, "a", "b", "c")}) == 3


def test_settings_come_for_the_queues_asked_for_in_order_of_name(conn: psycopg.Connection) -> None:
    for name in ("b", "a", "c"):
        make_queue(conn, name)
    assert [stored.name for stored in settings(conn, "c", "a", "nope")] == ["a", "c"]
    assert run(conn, Call("queue_names", {})) == [("a",), ("b",), ("c",)]


@pytest.mark.parametrize(
    "columns",
    [
        {"name": ""},
        {"name": "-x"},
        {"name": "x" * 101},
        {"name": "x", "concurrency": 0},
        {"name": "x", "timeout": 0},
        {"name": "x", "max_attempts": 0},
        {"name": "x", "backoff": "linear"},
        {"name": "x", "delay": -1},
        {"name": "x", "jitter": 1.1},
        {"name": "x", "retention": -1},
        {"name": "x", "rate_max": 1},
        {"name": "x", "rate_per": 1},
        {"name": "x", "on_limiter_down": "panic"},
    ],
)
def test_the_table_refuses_settings_that_make_no_sense(conn: psycopg.Connection, columns: dict[str, Any]) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        make_queue(conn, **columns)


def test_the_declaration_is_kept_as_json(conn: psycopg.Connection) -> None:
    declare(conn, SEED)
    assert conn.execute("select declared from pgq.queues").fetchone()[0] == json.loads(SEED.declared())
