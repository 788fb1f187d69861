"""Options: each is checked before SQL, comes from the decorator or from options(), and stays where it was given."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from typing import Any

import psycopg
import pytest
from enqueue_app import app, digest, mail, rows, send

import pgq

NAN, INFINITY = float("nan"), float("inf")


class Urgency(IntEnum):
    HIGH = 0


class LooksLikeAnInteger:
    """As numpy's integers do: it has an index, and is no int."""

    def __index__(self) -> int:
        return 3

    def __le__(self, other: Any) -> bool:
        return True

    __ge__ = __lt__ = __gt__ = __le__


REFUSED: list[tuple[dict[str, Any], str]] = [
    *[({"priority": bad}, "priority must be 0 to 10") for bad in (-1, 11, 5.0, "5", True, None, LooksLikeAnInteger())],
    *[({"max_attempts": bad}, "max_attempts must be 1 to 2147483647") for bad in (0, -1, 2**31, 1.0, "3", True)],
    *[({"timeout": bad}, "timeout must be above 0") for bad in (0, -1, 1e10, 0.0)],
    *[({"timeout": bad}, "timeout must be a number") for bad in (NAN, INFINITY, "1", True, 10**400, timedelta(1))],
    *[
        ({"delay": bad}, "delay must be 0 seconds to a century")
        for bad in (-1, -0.001, 4e9, timedelta(-1), timedelta.max)
    ],
    *[
        ({"delay": bad}, "delay must be a number")
        for bad in (NAN, INFINITY, "1", True, Decimal(1), Fraction(1), 10**400)
    ],
    ({"scheduled_at": datetime(2091, 1, 1)}, "scheduled_at must be a datetime with a time zone"),  # noqa: DTZ001
    *[({"scheduled_at": bad}, "scheduled_at must be a datetime with a time zone") for bad in ("2091-01-01", 1.0, True)],
    ({"delay": 0, "scheduled_at": datetime.now(UTC)}, "give delay or scheduled_at, not both"),
    *[({"unique_key": bad}, "unique_key must be 1 to 500 characters") for bad in ("", "x" * 501, "a\0b", 7, b"k")],
    ({"unique_key": "\ud800"}, "unique_key must be valid Unicode"),
    *[({"unique_key": "k", "on_conflict": bad}, "on_conflict must be raise, skip") for bad in ("ask", None, [], True)],
]


@pytest.fixture(autouse=True)
def _declared(conn: psycopg.Connection) -> None:
    app.declare(conn)


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=[repr(options)[:50] for options, _ in REFUSED])
def test_an_option_out_of_range_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(pgq.InvalidOption, match=message) as caught:
        send.options(**options)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(TypeError, match="prio"):
        send.options(prio=1)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="delay"):
        mail.task(delay=1)  # type: ignore[call-overload]


def test_the_ends_of_every_range_are_taken(conn: psycopg.Connection, dsn: str) -> None:
    send.options(priority=10, max_attempts=2**31 - 1, timeout=1e9, delay=3_155_760_000).enqueue(conn, to="a")
    send.options(priority=Urgency.HIGH, max_attempts=1, timeout=0.001, delay=0).enqueue(conn, to="b")
    send.options(unique_key="ü" * 500, timeout=1e9).enqueue(conn, to="c")
    a, b, c = rows(dsn)
    assert (a["priority"], a["max_attempts"], a["timeout"]) == (10, 2**31 - 1, 1e9)
    assert a["scheduled_at"] - a["created_at"] > timedelta(days=36_524)
    assert (b["priority"], b["max_attempts"], b["timeout"]) == (0, 1, 0.001)
    assert (c["unique_key"], c["timeout"]) == ("ü" * 500, 1e9)


def test_the_decorators_options_are_the_tasks_defaults(conn: psycopg.Connection, dsn: str) -> None:
    digest.enqueue(conn, day="monday")
    digest.options(priority=0).enqueue(conn, day="tuesday")
    digest.options(max_attempts=None, timeout=None).enqueue(conn, day="the queue's own")
    columns = [(row["priority"], row["max_attempts"], row["timeout"]) for row in rows(dsn)]
    assert columns == [(8, 7, 90.0), (0, 7, 90.0), (8, 3, 30.0)]


def test_the_decorator_checks_its_options() -> None:
    with pytest.raises(pgq.InvalidOption, match="priority must be 0 to 10, got 11"):
        mail.task(priority=11)


def test_options_do_not_leak(conn: psycopg.Connection, dsn: str) -> None:
    urgent = send.options(priority=0, unique_key="k")
    slow = urgent.options(timeout=99)
    send.enqueue(conn, to="plain")
    urgent.enqueue(conn, to="urgent")
    slow.options(unique_key=None).enqueue(conn, to="slow")
    send.enqueue(conn, to="plain still")
    columns = [(row["priority"], row["unique_key"], row["timeout"]) for row in rows(dsn)]
    assert columns == [(5, None, 30.0), (0, "k", 30.0), (0, None, 99.0), (5, None, 30.0)]


def test_a_handler_with_options_is_still_the_function() -> None:
    urgent = send.options(priority=0)
    assert urgent("ada", subject="hi") == send("ada", subject="hi") == "ada: hi"
    assert (urgent.__name__, urgent.function) == ("send", send.function)
    assert app.handler("send") is send


def test_a_due_time_in_the_past_is_now(conn: psycopg.Connection, dsn: str) -> None:
    past = send.options(scheduled_at=datetime(1970, 1, 1, tzinfo=UTC))
    past.enqueue(conn, to="a")
    past.enqueue_many(conn, [{"to": "b"}])
    past.copy(conn, [{"to": "c"}])
    past.options(unique_key="k").enqueue(conn, to="d")
    for row in rows(dsn):
        assert abs(row["scheduled_at"] - datetime.now(UTC)) < timedelta(seconds=60)


def test_a_due_time_keeps_its_instant_in_any_zone(conn: psycopg.Connection, dsn: str) -> None:
    moment = datetime(2091, 6, 1, 12, 0, 0, 1, tzinfo=timezone(timedelta(hours=-9, minutes=-30)))
    send.options(scheduled_at=moment).enqueue(conn, to="a")
    assert rows(dsn)[0]["scheduled_at"] == moment


def test_a_due_time_far_ahead_waits_in_the_default_partition(conn: psycopg.Connection, dsn: str) -> None:
    send.options(scheduled_at=datetime(2999, 1, 1, tzinfo=UTC)).enqueue(conn, to="a")
    assert conn.execute("select count(*) from pgq.tasks_default").fetchone() == (1,)
    assert rows(dsn)[0]["status"] == "pending"


def test_due_times_count_from_now_even_late_in_a_transaction(conn: psycopg.Connection, dsn: str) -> None:
    with conn.transaction():
        (began,) = conn.execute("select now()").fetchone() or ()
        conn.execute("select pg_sleep(0.2)")
        send.enqueue(conn, to="a")
        send.enqueue_many(conn, [{"to": "b"}])
        send.copy(conn, [{"to": "c"}])
    for row in rows(dsn):
        assert row["scheduled_at"] >= began + timedelta(seconds=0.2)


def test_one_function_may_be_a_task_of_two_queues(conn: psycopg.Connection, dsn: str) -> None:
    both = pgq.App()
    first, second = both.queue("first"), both.queue("second")

    @second.task(name="later")
    @first.task
    def work(n: int) -> int:
        return n + 1

    both.declare(conn)
    work.enqueue(conn, n=1)
    both.handler("work").enqueue(conn, n=1)
    assert [(row["queue"], row["task"]) for row in rows(dsn)] == [("second", "later"), ("first", "work")]
    assert work(1) == 2


def test_attributes_of_the_function_come_along_and_shadow_nothing(conn: psycopg.Connection, dsn: str) -> None:
    def work() -> None:
        "Work hard."

    vars(work).update(function="theirs", _options="theirs", owner="billing")
    handler = mail.task(name=f"work-{id(work)}")(work)
    handler.enqueue(conn)
    assert (handler.owner, handler.__doc__) == ("billing", "Work hard.")
    assert [row["queue"] for row in rows(dsn)] == ["mail"]
    del app.handlers[handler.function.name]


def test_what_cannot_be_a_task_is_refused_where_it_is_declared() -> None:
    queue = pgq.App().queue("q")

    def positional(a: int, /) -> None: ...
    def starred(*numbers: int) -> None: ...
    def generator() -> Any:
        yield

    async def agenerator() -> Any:
        yield

    for wrong in (positional, starred):
        with pytest.raises(pgq.InvalidPayload, match="cannot be given by name"):
            queue.task(wrong)
    for wrong in (generator, agenerator):
        with pytest.raises(pgq.InvalidOption, match="is a generator function"):
            queue.task(wrong)
    with pytest.raises(pgq.InvalidOption, match="task name must be"):
        queue.task(lambda: None)
    queue.task(name="twice")(lambda: None)
    with pytest.raises(pgq.InvalidOption, match="task 'twice' is declared twice"):
        queue.task(name="twice")(lambda: None)
