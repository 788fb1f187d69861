"""What is enqueued is what the handler gets, exactly: through the real database, to every kind of handler."""

from __future__ import annotations

import json
import math
from typing import Any

import psycopg
import pytest
from enqueue_app import app, note, rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pgq
from pgq.payload import MAX_BYTES
from pgq.worker import Worker

VALUES: list[Any] = [
    "Grüße, 世界 🎈👩‍👩‍👧 \u202e\ufeff \x01\x1f\x7f",
    "quotes ' \" \\ \\\\ \\u0000 %s %(x)s $1 {} \t\r\n \N{LINE SEPARATOR}",
    "",
    [2**31, 2**53 + 1, 2**63, -(2**63), 2**64, 10**30, -(10**300), 0],
    [0.1, 0.1 + 0.2, 1e-308, 5e-324, 1.7976931348623157e308, -0.0, 1.0, 100.0, 1e16, 1 / 3],
    [True, False, None, [], {}, [[]], {"": ""}, {"a b": {"ü": [1, [2, [3]]]}}],
    {"self": 1, "conn": 2, "args": 3, "__proto__": 4, "0": 5},
]

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def same(one: Any, other: Any) -> bool:
    """Equal in value, type and sign, which == alone does not say: 1 == 1.0 == True and 0.0 == -0.0."""
    return repr(one) == repr(other)


async def delivered(config: pgq.Config, values: list[Any]) -> dict[str, list[Any]]:
    """Send each value to a coroutine and to a thread, one by one, in bulk and by COPY; returns what they got."""
    app, got = pgq.App(), {"async": [], "thread": []}
    queue = app.queue("exact")

    @queue.task
    async def later(place: int, value: Any) -> None:
        got["async"].append((place, value))

    @queue.task
    def sooner(place: int, value: Any) -> None:
        got["thread"].append((place, value))

    payloads = [{"place": place, "value": value} for place, value in enumerate(values)]
    with psycopg.connect(config.dsn) as conn:
        app.declare(conn)
        for handler in (later, sooner):
            for payload in payloads:
                handler.enqueue(conn, **payload)
            handler.enqueue_many(conn, payloads)
            handler.copy(conn, payloads)
            handler.options(unique_key=handler.__name__).enqueue(conn, **payloads[0])
    await Worker(app, config).run(burst=True)
    return got


async def test_every_value_reaches_every_handler_as_it_was(config: pgq.Config) -> None:
    got = await delivered(config, VALUES)
    for arrived in got.values():
        assert len(arrived) == 3 * len(VALUES) + 1
        for place, value in arrived:
            assert same(value, VALUES[place])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSON)
def test_whatever_is_accepted_reads_back_the_same(conn: psycopg.Connection, value: Any) -> None:
    app.declare(conn)
    with conn.transaction(force_rollback=True):
        task_id = note.enqueue(conn, body=value)
        (text,) = conn.execute("select payload::text from pgq.tasks where id = %s", (task_id,)).fetchone() or ()
    assert same(json.loads(text), {"body": value})


BAD: list[tuple[Any, str]] = [
    (math.nan, r"payload\.body must be a finite number, got nan"),
    ([1, {"x": math.inf}], r"payload\.body\[1\]\.x must be a finite number, got inf"),
    ("a\0b", r"payload\.body must not contain NUL"),
    ({"a\0": 1}, r"key 'a\\x00' of payload\.body must not contain NUL"),
    ("\ud83d", r"payload\.body must be valid Unicode, got a lone surrogate"),
    ((1, 2), r"payload\.body must be a JSON value, got tuple"),
    ({1: "a"}, r"payload\.body must have string keys, got 1"),
    ({1, 2}, r"payload\.body must be a JSON value, got set"),
    (b"x", r"payload\.body must be a JSON value, got bytes"),
    (object(), r"payload\.body must be a JSON value, got object"),
    (10**5_000, r"payload\.body is an integer of too many digits"),
]


@pytest.mark.parametrize(("value", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_what_would_not_come_back_the_same_is_refused(
    conn: psycopg.Connection, dsn: str, value: Any, message: str
) -> None:
    with pytest.raises(pgq.InvalidPayload, match=message) as caught:
        note.enqueue(conn, body=value)
    assert "\n" not in str(caught.value)
    assert rows(dsn) == []


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_a_hundred_levels_pass_and_one_more_does_not(conn: psycopg.Connection, dsn: str) -> None:
    app.declare(conn)
    note.enqueue(conn, body=nested(99))
    note.enqueue(conn, body=[[]] * 500)
    circle: list[Any] = []
    circle.append(circle)
    for deeper in (nested(100), nested(500), nested(100_000), circle):
        with pytest.raises(pgq.InvalidPayload, match="at most 100 levels deep"):
            note.enqueue(conn, body=deeper)
    assert len(rows(dsn)) == 2


@pytest.mark.parametrize("letter", ["x", "é", "🎈"])
def test_a_mebibyte_passes_and_one_byte_more_does_not(conn: psycopg.Connection, letter: str) -> None:
    app.declare(conn)
    around = len('{"body":""}')
    whole, rest = divmod(MAX_BYTES - around, len(letter.encode()))
    body = letter * whole + "." * rest
    adders = (
        lambda body: note.enqueue(conn, body=body),
        lambda body: note.options(unique_key="k").enqueue(conn, body=body),
        lambda body: note.enqueue_many(conn, [{"body": body}]),
        lambda body: note.copy(conn, [{"body": body}]),
    )
    for add in adders:
        add(body)
        with pytest.raises(pgq.InvalidPayload, match="payload must be at most 1048576 bytes, got 1048577"):
            add(body + ".")
    sizes = conn.execute("select octet_length(payload::text) from pgq.tasks").fetchall()
    assert sizes == [(MAX_BYTES,)] * 4


def test_arguments_are_kept_as_given_and_defaults_are_the_handlers(conn: psycopg.Connection, dsn: str) -> None:
    other = pgq.App()
    queue = other.queue("q")

    @queue.task
    def work(a: int, b: int = 2, *, conn: str = "c", **rest: Any) -> tuple[Any, ...]:
        return a, b, conn, rest

    other.declare(conn)
    work.enqueue(conn, 1)
    work.enqueue(conn, 1, 3, conn="x", self="y", args=[1], kwargs={})
    work.enqueue_many(conn, [{"a": 1, "conn": "z"}])
    assert [json.loads(row["payload"]) for row in rows(dsn)] == [
        {"a": 1},
        {"a": 1, "b": 3, "conn": "x", "self": "y", "args": [1], "kwargs": {}},
        {"a": 1, "conn": "z"},
    ]
    assert work(1) == (1, 2, "c", {})


def test_arguments_that_do_not_fit_are_refused(conn: psycopg.Connection) -> None:
    with pytest.raises(pgq.InvalidPayload, match="missing a required argument: 'body'"):
        note.enqueue(conn)  # type: ignore[call-arg]
    with pytest.raises(pgq.InvalidPayload, match="unexpected keyword argument 'text'"):
        note.enqueue(conn, body=1, text="a")  # type: ignore[call-arg]
    with pytest.raises(pgq.InvalidPayload, match="too many positional arguments"):
        note.enqueue(conn, 1, 2)  # type: ignore[call-arg]
