"""Django's connection: inside atomic blocks, in autocommit, with or without time zones, and in front of its tools."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import django
import psycopg
import pytest
from django.conf import settings
from django.db import connection, connections, transaction
from django.db.utils import ProgrammingError
from django.test.utils import CaptureQueriesContext, override_settings
from enqueue_app import app, haunt, ids, note, rows, send
from psycopg.conninfo import conninfo_to_dict

import pgq

if not settings.configured:
    settings.configure(USE_TZ=True, TIME_ZONE="Asia/Kolkata")
    django.setup()


@pytest.fixture(autouse=True, params=["client", "server"])
def _django(request: pytest.FixtureRequest, conn: psycopg.Connection, dsn: str) -> Iterator[None]:
    """Point Django at the test's database, with its client-side or its server-side binding."""
    app.declare(conn)
    given = conninfo_to_dict(dsn)
    names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    database: dict[str, Any] = {ours: str(given[theirs]) for ours, theirs in names.items() if theirs in given}
    database |= {
        "ENGINE": "django.db.backends.postgresql",
        "OPTIONS": {"server_side_binding": request.param == "server"},
    }
    point_at(database)
    yield
    connection.close()


def point_at(database: dict[str, Any]) -> None:
    connections.settings = connections.configure_settings({"default": database})
    with suppress(AttributeError):
        del connections["default"]


class CallersOwnError(Exception):
    """What a caller's own code may raise in the middle."""


def test_in_autocommit_a_task_is_there_at_once(dsn: str) -> None:
    task_id = send.enqueue(connection, to="ada")
    many = send.enqueue_many(connection, [{"to": "b"}, {"to": "c"}])
    assert ids(dsn) == [task_id, *many]
    assert rows(dsn)[0]["payload"] == '{"to":"ada"}'
    assert connection.get_autocommit()


def test_a_task_comes_with_its_atomic_block(dsn: str) -> None:
    with transaction.atomic():
        task_id = send.enqueue(connection, to="ada")
        assert ids(dsn) == []
    assert ids(dsn) == [task_id]


def test_a_task_goes_with_its_atomic_block(dsn: str) -> None:
    with suppress(CallersOwnError), transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("create table orders (n integer)")
        send.enqueue(connection, to="ada")
        send.options(unique_key="k").enqueue(connection, to="ada")
        send.copy(connection, [{"to": "b"}])
        raise CallersOwnError
    assert rows(dsn) == []


def test_an_inner_block_goes_alone(dsn: str) -> None:
    with transaction.atomic():
        kept = send.enqueue(connection, to="kept")
        with suppress(CallersOwnError), transaction.atomic():
            send.enqueue(connection, to="gone")
            raise CallersOwnError
    assert ids(dsn) == [kept]


def test_limits_are_stored_over_django(dsn: str, conn: psycopg.Connection) -> None:
    limited = pgq.App()
    limited.key_limit("customer", rate=pgq.Rate(10, per=1))
    limited.declare(conn)

    @limited.queue("mail").task(limit_key="customer:{to}", weight=2)
    def mail(to: str) -> None: ...

    mail.enqueue(connection, to="100%s")
    mail.options(unique_key="k").enqueue(connection, to='a"b')
    mail.enqueue_many(connection, [{"to": "c"}, {"to": "d"}])
    mail.copy(connection, [{"to": "e"}])
    found = [(row["limit_keys"], row["weight"]) for row in rows(dsn)]
    assert found == [([f"customer:{to}"], 2) for to in ("100%s", 'a"b', "c", "d", "e")]


def test_set_rollback_takes_the_task_along(dsn: str) -> None:
    with transaction.atomic():
        send.enqueue(connection, to="ada")
        transaction.set_rollback(True)
    assert rows(dsn) == []


def test_errors_are_ours_and_an_inner_block_contains_them(dsn: str) -> None:
    keyed = send.options(unique_key="k")
    with transaction.atomic():
        holder = keyed.enqueue(connection, to="a")
        with pytest.raises(pgq.UniqueKeyTaken) as caught, transaction.atomic():
            keyed.enqueue(connection, to="b")
        with pytest.raises(pgq.UnknownQueue, match="ghost"):
            haunt.enqueue(connection)
        with pytest.raises(pgq.InvalidPayload):
            note.enqueue(connection, body=b"")
        assert keyed.options(on_conflict="skip").enqueue(connection, to="c") is None
    assert str(caught.value) == f"unique_key 'k' of queue 'mail' is held by task {holder}"
    assert ids(dsn) == [holder]


def test_other_errors_stay_djangos() -> None:
    with connection.cursor() as cursor:
        cursor.execute("drop schema pgq cascade")
    with pytest.raises(ProgrammingError, match="does not exist"):
        send.enqueue(connection, to="a")


def test_after_an_error_djangos_own_rules_hold() -> None:
    with transaction.atomic():
        transaction.set_rollback(True)
        with pytest.raises(transaction.TransactionManagementError):
            send.enqueue(connection, to="a")


def test_djangos_tools_see_the_statement() -> None:
    with CaptureQueriesContext(connection) as captured:
        send.enqueue_many(connection, [{"to": str(i)} for i in range(100)])
    assert ["insert into pgq.tasks" in query["sql"] for query in captured.captured_queries] == [True]


def test_text_with_quotes_and_percent_signs_arrives_as_written(dsn: str) -> None:
    body = {"text": "it's 100% %s %(x)s \\ \" é 🎈"}
    note.enqueue(connection, body=body)
    note.enqueue_many(connection, [{"body": body}])
    note.copy(connection, [{"body": body}])
    assert [json.loads(row["payload"]) for row in rows(dsn)] == [{"body": body}] * 3


@pytest.mark.parametrize("use_tz", [True, False])
def test_due_times_are_right_whatever_django_does_with_time_zones(dsn: str, use_tz: bool) -> None:
    with override_settings(USE_TZ=use_tz):
        point_at(dict(connection.settings_dict))
        later = send.options(delay=60)
        later.enqueue(connection, to="a")
        later.copy(connection, [{"to": "b"}])
        connection.close()
    for row in rows(dsn):
        assert timedelta(seconds=59) < row["scheduled_at"] - row["created_at"] < timedelta(seconds=61)


def test_queues_can_be_declared_over_django() -> None:
    other = pgq.App()
    other.queue("django")
    with transaction.atomic():
        assert other.declare(connection) == ["django"]
    assert other.declare(connection) == []


async def test_django_in_a_coroutine_is_refused_in_words() -> None:
    with pytest.raises(pgq.ConfigError, match="a sync one goes to enqueue"):
        await send.aenqueue(connection, to="a")
