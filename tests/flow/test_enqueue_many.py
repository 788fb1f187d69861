"""Many tasks in one statement, very many by COPY: all of them or none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import psycopg
import pytest
from doors import engine
from enqueue_app import app, digest, haunt, ids, note, rows, send
from pooler import OWN_SESSION
from sqlalchemy.orm import Session

import pgq


@pytest.fixture(autouse=True)
def _declared(conn: psycopg.Connection) -> None:
    app.declare(conn)


class Counting(psycopg.Cursor[Any]):
    """A cursor that remembers every statement."""

    statements: ClassVar[list[Any]] = []

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Counting:
        self.statements.append(query)
        return super().execute(query, *args, **kwargs)


@pytest.fixture
def counting(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    Counting.statements.clear()
    with psycopg.connect(dsn, cursor_factory=Counting) as conn:
        yield conn


@pytest.fixture
def rings(dsn: str) -> Iterator[psycopg.Connection]:
    """Sleep on the bell of the queue as an idle worker does, and hear it."""
    with psycopg.connect(dsn, autocommit=True) as sleeper:
        sleeper.execute("listen pgq")
        sleeper.execute("select pg_advisory_lock(7366513, bell) from pgq.queues where name = 'mail'")
        yield sleeper


def heard(sleeper: psycopg.Connection) -> list[str]:
    """What was rung so far: a notification of our own marks the end."""
    sleeper.execute("notify pgq, 'end'")
    found = []
    for notice in sleeper.notifies(timeout=10):
        if notice.payload == "end":
            return found
        found.append(notice.payload)
    pytest.fail("not even our own notification came")


def test_ten_thousand_are_one_statement(counting: psycopg.Connection[Any], dsn: str) -> None:
    added = send.enqueue_many(counting, ({"to": f"c{i}", "subject": "news"} for i in range(10_000)))
    counting.commit()
    assert len(Counting.statements) == 1
    there = {row["id"]: json.loads(row["payload"]) for row in rows(dsn)}
    assert [there[task_id] for task_id in added] == [{"to": f"c{i}", "subject": "news"} for i in range(10_000)]


def test_ids_are_in_order_while_others_enqueue_too(dsn: str, conn: psycopg.Connection) -> None:
    mine, theirs = [], []
    with psycopg.connect(dsn) as other:
        for turn in range(20):
            mine += send.enqueue_many(conn, [{"to": f"{turn}.{i}"} for i in range(100)])
            theirs += send.enqueue_many(other, [{"to": "other"} for _ in range(100)])
    there = {row["id"]: json.loads(row["payload"])["to"] for row in rows(dsn)}
    assert [there[task_id] for task_id in mine] == [f"{turn}.{i}" for turn in range(20) for i in range(100)]
    assert {there[task_id] for task_id in theirs} == {"other"}


def test_none_is_no_statement(counting: psycopg.Connection[Any]) -> None:
    assert send.enqueue_many(counting, []) == []
    assert Counting.statements == []


BAD: list[tuple[Any, str]] = [
    ({"to": float("nan")}, r"payload 17: payload\.to must be a finite number"),
    ({"to": "a\0b"}, r"payload 17: payload\.to must not contain NUL"),
    ({"to": "x" * 1_048_577}, "payload 17: payload must be at most 1048576 bytes"),
    ({}, "payload 17: arguments do not fit send.*missing a required argument: 'to'"),
    ({"to": "a", "cc": "b"}, "payload 17: arguments do not fit send.*unexpected keyword argument 'cc'"),
    ("to", "payload 17: arguments do not fit send"),
    (None, "payload 17: arguments do not fit send"),
]


@pytest.mark.parametrize(("bad", "message"), BAD, ids=[message[12:50] for _, message in BAD])
def test_one_bad_payload_is_named_and_nothing_is_added(
    counting: psycopg.Connection[Any], dsn: str, bad: Any, message: str
) -> None:
    payloads: list[Any] = [{"to": "a"} for _ in range(30)]
    payloads[17] = bad
    with pytest.raises(pgq.InvalidPayload, match=message):
        send.enqueue_many(counting, payloads)
    assert Counting.statements == []
    with pytest.raises(pgq.InvalidPayload, match=message):
        send.copy(counting, payloads)
    counting.rollback()
    assert rows(dsn) == []


def test_a_single_mapping_instead_of_a_list_is_refused(conn: psycopg.Connection, dsn: str) -> None:
    with pytest.raises(pgq.InvalidPayload, match="payload 0: arguments do not fit send"):
        send.enqueue_many(conn, {"to": "a"})  # type: ignore[arg-type]
    assert rows(dsn) == []


def test_a_key_for_many_is_refused(conn: psycopg.Connection, dsn: str) -> None:
    keyed = send.options(unique_key="k")
    for add in (keyed.enqueue_many, keyed.copy):
        with pytest.raises(pgq.InvalidOption, match="unique_key is for one task at a time, got 'k'"):
            add(conn, [{"to": "a"}])
    assert rows(dsn) == []


@OWN_SESSION
def test_many_ring_once_and_only_a_sleeper(rings: psycopg.Connection, conn: psycopg.Connection) -> None:
    send.enqueue_many(conn, [{"to": "a"}] * 100)
    assert heard(rings) == ["ring:mail"]
    rings.execute("select pg_advisory_unlock_all()")
    send.enqueue_many(conn, [{"to": "a"}] * 100)
    assert heard(rings) == []


def test_a_copy_of_twenty_thousand_brings_every_column(conn: psycopg.Connection, dsn: str) -> None:
    assert digest.copy(conn, ({"day": f"tag {i} é"} for i in range(20_000))) == 20_000
    found = rows(dsn)
    assert [json.loads(row["payload"]) for row in found] == [{"day": f"tag {i} é"} for i in range(20_000)]
    first = found[0]
    assert len({row["id"] for row in found}) == 20_000
    assert datetime.now(UTC) - timedelta(seconds=60) < first["scheduled_at"] <= datetime.now(UTC)
    assert first["created_at"] <= first["scheduled_at"] < first["created_at"] + timedelta(seconds=1)
    fixed = {"queue": "mail", "task": "digest", "priority": 8, "max_attempts": 7, "timeout": 90.0, "attempts": 0}
    for row in found:
        assert fixed.items() <= row.items()
        assert (row["status"], row["crashes"], row["lease"], row["unique_key"]) == ("pending", 0, None, None)


def test_a_copy_writes_the_same_rows_as_a_single_enqueue(conn: psycopg.Connection, dsn: str) -> None:
    moment = datetime(2091, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)
    body = {"text": "Grüße 🎈 \\N \t\n \"'", "big": 10**30, "float": 1e-7, "list": [None, True, {}]}
    for chosen in (note, note.options(priority=0, scheduled_at=moment, max_attempts=2**31 - 1, timeout=0.25)):
        chosen.enqueue(conn, body=body)
        chosen.copy(conn, [{"body": body}])
    varying = {"id", "created_at", "scheduled_at"}
    plain, copied, chosen_one, chosen_copied = [
        {name: value for name, value in row.items() if name not in varying} for row in rows(dsn)
    ]
    assert plain == copied
    assert chosen_one == chosen_copied
    assert [row["scheduled_at"] for row in rows(dsn)[2:]] == [moment, moment]


@OWN_SESSION
def test_a_copy_rings_once(rings: psycopg.Connection, conn: psycopg.Connection) -> None:
    send.copy(conn, ({"to": str(i)} for i in range(20_000)))
    assert heard(rings) == ["ring:mail"]


def test_a_copy_of_nothing_is_nothing(conn: psycopg.Connection, dsn: str) -> None:
    assert send.copy(conn, []) == 0
    assert rows(dsn) == []


def test_an_error_of_the_callers_own_in_the_middle_adds_nothing(conn: psycopg.Connection, dsn: str) -> None:
    def failing() -> Iterator[dict[str, str]]:
        yield from ({"to": str(i)} for i in range(5_000))
        raise KeyError("no such customer")

    with pytest.raises(KeyError, match="no such customer"):
        send.copy(conn, failing())
    with pytest.raises(KeyError, match="no such customer"):
        send.enqueue_many(conn, failing())
    assert rows(dsn) == []
    assert send.copy(conn, [{"to": "the connection still works"}]) == 1


def test_a_copy_goes_with_its_transaction(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        send.copy(conn, [{"to": "a"}])
        assert rows(dsn) == []
        conn.rollback()
        with conn.transaction():
            send.copy(conn, [{"to": "b"}])
    assert [row["payload"] for row in rows(dsn)] == ['{"to":"b"}']


def test_a_copy_over_a_session_goes_with_it(dsn: str) -> None:
    with Session(engine("psycopg", dsn)) as session:
        send.copy(session, [{"to": "a"}])
        session.rollback()
        send.copy(session, [{"to": "b"}])
        session.commit()
    assert [row["payload"] for row in rows(dsn)] == ['{"to":"b"}']


def test_a_copy_to_an_unknown_queue_is_refused(conn: psycopg.Connection) -> None:
    with pytest.raises(pgq.UnknownQueue, match="unknown queue 'ghost'"):
        haunt.copy(conn, [{}])


def test_late_days_take_copies_and_many_too(conn: psycopg.Connection, dsn: str) -> None:
    later = send.options(scheduled_at=datetime(9998, 12, 31, 23, 59, 59, 999999, tzinfo=UTC))
    later.copy(conn, [{"to": "a"}])
    later.enqueue_many(conn, [{"to": "b"}])
    later.enqueue(conn, to="c")
    assert {row["scheduled_at"].year for row in rows(dsn)} == {9998}
    assert len(ids(dsn)) == 3
