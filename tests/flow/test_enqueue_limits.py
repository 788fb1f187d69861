"""Limit keys and weights, through every door a task can be enqueued by."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, ClassVar

import psycopg
import pytest
from doors import DOORS, Door, done, engine
from enqueue_app import rows
from sqlalchemy.orm import Session

import pgq

app = pgq.App()
app.key_limit("host", concurrency=2)
app.key_limit("customer", rate=pgq.Rate(10, per=60), concurrency=3)
work = app.queue("work")


@work.task(limit_key="customer:{customer}", weight=3)
def bill(customer: Any = "walk-in", amount: int = 1) -> None: ...


@work.task(limit_key=["host:{host}", "customer:{customer}", "host:proxy"])
async def fetch(host: str, customer: int) -> None: ...


@work.task(limit_key="host:proxy")
def ping() -> None: ...


@work.task
def free(note: str = "") -> None: ...


@work.task(limit_key="customer:{customer}")
def anything(**given: Any) -> None: ...


NASTY = "customer:a\"b\\c, {d} {} it's 100% %s %(x)s $1 é 🎈 NULL :z"


@pytest.fixture(autouse=True)
def _declared(conn: psycopg.Connection) -> None:
    app.declare(conn)


@pytest.fixture(params=DOORS)
async def door(request: pytest.FixtureRequest, dsn: str) -> AsyncIterator[Door]:
    async with DOORS[request.param](dsn) as door:
        yield door


def limits(dsn: str) -> list[tuple[list[str] | None, int | None]]:
    """What each task is under, and its weight."""
    return [(row["limit_keys"], row["weight"]) for row in rows(dsn)]


class Counting(psycopg.Cursor[Any]):
    """A cursor that remembers every statement."""

    statements: ClassVar[list[Any]] = []

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Counting:
        self.statements.append(query)
        return super().execute(query, *args, **kwargs)


async def test_a_task_is_under_the_keys_of_its_declaration(door: Door, dsn: str) -> None:
    await door.enqueue(bill, customer="acme")
    await door.enqueue(bill.options(unique_key="k"), customer=7)
    await door.enqueue(fetch, host="h", customer=7)
    await door.enqueue(ping)
    await door.enqueue(free)
    await done(door.commit())
    assert limits(dsn) == [
        (["customer:acme"], 3),
        (["customer:7"], 3),
        (["host:h", "customer:7", "host:proxy"], None),
        (["host:proxy"], None),
        (None, None),
    ]


async def test_many_have_the_keys_of_their_own_arguments(door: Door, dsn: str) -> None:
    await door.enqueue_many(bill, [{"customer": f"c{n}"} for n in range(3)])
    await door.enqueue_many(fetch, [{"host": "proxy", "customer": 1}, {"host": "h", "customer": 2}])
    await door.enqueue_many(ping, [{}, {}])
    await door.enqueue_many(free.options(weight=2), [{}])
    await done(door.commit())
    assert limits(dsn) == [
        *((["customer:c0"], 3), (["customer:c1"], 3), (["customer:c2"], 3)),
        *((["host:proxy", "customer:1"], None), (["host:h", "customer:2", "host:proxy"], None)),
        *((["host:proxy"], None), (["host:proxy"], None)),
        (None, 2),
    ]


async def test_keys_arrive_as_they_were_written(door: Door, dsn: str) -> None:
    written = free.options(limit_key=[NASTY, "host:b"])
    await door.enqueue(written)
    await door.enqueue(written.options(unique_key="k"))
    await door.enqueue_many(written, [{}, {}])
    await door.enqueue_many(bill, [{"customer": NASTY.partition(":")[2]}])
    await done(door.commit())
    assert limits(dsn) == [([NASTY, "host:b"], None)] * 4 + [([NASTY], 3)]


async def test_replace_replaces_keys_and_weight(door: Door, dsn: str) -> None:
    key = free.options(unique_key="k", on_conflict="replace")
    holder = await door.enqueue(key.options(limit_key=["host:a", "customer:a"], weight=9))
    await done(door.execute("update pgq.tasks set bounces = 5, throttled_by = 'host:a'"))
    assert await door.enqueue(key.options(limit_key="host:b", weight=2)) == holder
    await done(door.commit())
    (row,) = rows(dsn)
    assert (row["limit_keys"], row["weight"], row["bounces"], row["throttled_by"]) == (["host:b"], 2, 0, None)


async def test_a_task_replaced_by_one_without_limits_is_under_none(door: Door, dsn: str) -> None:
    key = free.options(unique_key="k", on_conflict="replace")
    holder = await door.enqueue(key.options(limit_key="host:a", weight=9))
    assert await door.enqueue(key) == holder
    await done(door.commit())
    assert limits(dsn) == [(None, None)]


async def test_a_kind_that_was_never_synced_is_named_under_a_unique_key(door: Door, conn: psycopg.Connection) -> None:
    conn.execute("delete from pgq.limits where name = 'host'")
    with pytest.raises(pgq.InvalidOption) as caught:
        await door.enqueue(ping.options(unique_key="k"))
    assert str(caught.value) == "limit key 'host:proxy' is of no declared kind, there are: customer"


async def test_limits_are_declared_over_every_door(door: Door, dsn: str) -> None:
    other = pgq.App()
    other.queue("b")
    other.key_limit("z", rate=pgq.Rate(5, per=0.5))
    other.key_limit("y.2", concurrency=7)
    declare = other.adeclare if door.is_async else other.declare
    assert await done(declare(door.conn)) == ["b", "limit y.2", "limit z"]
    assert await done(declare(door.conn)) == []
    await done(door.commit())
    with psycopg.connect(dsn) as conn:
        found = conn.execute("select name, rate_max, rate_per, concurrency from pgq.limits where name > 'i' order by 1")
        assert found.fetchall() == [("y.2", None, None, 7), ("z", 5, 0.5, None)]


def test_a_copy_writes_the_same_keys_as_a_single_enqueue(conn: psycopg.Connection, dsn: str) -> None:
    cases: list[tuple[pgq.Handler[Any, Any, Any], dict[str, Any]]] = [
        (bill, {"customer": "acme"}),
        (bill.options(limit_key=None), {"customer": "acme"}),
        (bill.options(limit_key=None, weight=1), {"customer": "acme"}),
        (fetch.options(priority=0), {"host": "proxy", "customer": 10**20}),
        (free.options(limit_key=[NASTY, "host:b"], weight=10), {}),
        (free, {}),
    ]
    for handler, payload in cases:
        handler.enqueue(conn, **payload)
        assert handler.copy(conn, [payload]) == 1
        handler.enqueue_many(conn, [payload])
    found = limits(dsn)
    assert found[0::3] == found[1::3] == found[2::3]
    assert found[0::3] == [
        *((["customer:acme"], 3), (None, 3), (None, None)),
        (["host:proxy", f"customer:{10**20}"], None),
        ([NASTY, "host:b"], 10),
        (None, None),
    ]


def test_a_copy_fills_the_keys_of_each_payload(conn: psycopg.Connection, dsn: str) -> None:
    assert bill.copy(conn, ({"customer": n} for n in range(1_000))) == 1_000
    assert limits(dsn) == [([f"customer:{n}"], 3) for n in range(1_000)]


def test_a_copy_over_a_session_stores_keys(dsn: str) -> None:
    with Session(engine("psycopg", dsn)) as session:
        bill.copy(session, [{"customer": "acme"}])
        session.commit()
    assert limits(dsn) == [(["customer:acme"], 3)]


def test_a_thousand_keys_are_one_statement(dsn: str) -> None:
    Counting.statements.clear()
    with psycopg.connect(dsn, cursor_factory=Counting) as conn:
        bill.enqueue_many(conn, [{"customer": f"c{n}"} for n in range(1_000)])
    assert len(Counting.statements) == 1
    assert limits(dsn) == [([f"customer:c{n}"], 3) for n in range(1_000)]


def test_what_is_not_given_is_filled_from_the_functions_default(conn: psycopg.Connection, dsn: str) -> None:
    bill.enqueue(conn)
    bill.enqueue(conn, "by place")
    bill.enqueue_many(conn, [{}])
    keys = [keys for keys, _ in limits(dsn)]
    assert keys == [["customer:walk-in"], ["customer:by place"], ["customer:walk-in"]]


def test_a_function_that_takes_any_name_fills_from_what_it_gets(conn: psycopg.Connection, dsn: str) -> None:
    anything.enqueue(conn, customer="acme", more=1)
    assert limits(dsn) == [(["customer:acme"], None)]
    with pytest.raises(pgq.InvalidOption, match="limit_key needs 'customer' to be text or a whole number, got None"):
        anything.enqueue(conn, more=1)


def test_options_replace_drop_or_keep_the_tasks_keys(conn: psycopg.Connection, dsn: str) -> None:
    bill.options(weight=5).enqueue(conn, customer="a")
    bill.options(limit_key="host:b").enqueue(conn, customer="a")
    bill.options(limit_key=("host:b", "host:c", "host:b")).options(priority=0).enqueue(conn, customer="a")
    bill.options(limit_key=None).enqueue(conn, customer="a")
    bill.options(limit_key="host:b").options(limit_key=None, weight=1).enqueue(conn, customer="a")
    bill.enqueue(conn, customer="a")
    assert limits(dsn) == [
        (["customer:a"], 5),
        (["host:b"], 3),
        (["host:b", "host:c"], 3),
        (None, 3),
        (None, None),
        (["customer:a"], 3),
    ]


def test_what_users_write_into_a_key_is_never_filled(conn: psycopg.Connection, dsn: str) -> None:
    bill.enqueue(conn, customer="{amount}")
    free.options(limit_key="customer:{amount}").enqueue(conn)
    assert [keys for keys, _ in limits(dsn)] == [["customer:{amount}"]] * 2
    with pytest.raises(pgq.InvalidOption, match=r"limit_key 'customer:\{note\}' is a template: it belongs to the decl"):
        free.options(limit_key="customer:{note}")


BAD: list[tuple[Any, str]] = [
    (None, "limit_key needs 'customer' to be text or a whole number, got None"),
    (1.5, r"limit_key needs 'customer' to be text or a whole number, got 1\.5"),
    (True, "limit_key needs 'customer' to be text or a whole number, got True"),
    (["a"], r"limit_key needs 'customer' to be text or a whole number, got \['a'\]"),
    ("", "limit_key must look like 'kind:key', got 'customer:'"),
    ("x" * 192, "limit_key must be printable text of at most 200 characters"),
    ("a\nb", "limit_key must be printable text of at most 200 characters"),
]


@pytest.mark.parametrize(("bad", "message"), BAD, ids=[repr(bad)[:20] for bad, _ in BAD])
def test_an_argument_that_makes_no_key_is_refused_before_sql(
    conn: psycopg.Connection, dsn: str, bad: Any, message: str
) -> None:
    with pytest.raises(pgq.InvalidOption, match=f"^{message}"):
        bill.enqueue(conn, customer=bad)
    payloads = [{"customer": "a"}, {"customer": bad}]
    with pytest.raises(pgq.InvalidOption, match=f"^payload 1: {message}"):
        bill.enqueue_many(conn, payloads)
    with pytest.raises(pgq.InvalidOption, match=f"^payload 1: {message}"):
        bill.copy(conn, payloads)
    assert rows(dsn) == []


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"limit_key": "custmer:a"}, "limit_key 'custmer:a' is of no declared kind, this app has: host, customer"),
    ({"limit_key": ["host:a", "Host:a"]}, "limit_key 'Host:a' is of no declared kind"),
    ({"limit_key": "acme"}, "limit_key must look like 'kind:key', got 'acme'"),
    ({"limit_key": ":acme"}, "limit_key must look like 'kind:key', got ':acme'"),
    ({"limit_key": ""}, "limit_key must look like 'kind:key', got ''"),
    ({"limit_key": []}, "limit_key must be 1 to 8 keys, got 0"),
    ({"limit_key": [f"host:{n}" for n in range(9)]}, "limit_key must be 1 to 8 keys, got 9"),
    ({"limit_key": 7}, "limit_key must be printable text of at most 200 characters, got 7"),
    ({"limit_key": b"host:a"}, "limit_key must be printable text"),
    ({"limit_key": {"host:a"}}, "limit_key must be printable text"),
    ({"limit_key": "host:" + "x" * 196}, "limit_key must be printable text of at most 200 characters"),
    ({"limit_key": "host:\ud800"}, "limit_key must be printable text"),
    ({"limit_key": "customer:a", "weight": 11}, "weight must be at most 10, the rate of limit 'customer', got 11"),
    ({"limit_key": ["host:a", "customer:a"], "weight": 11}, "weight must be at most 10, the rate of limit 'customer'"),
    *[({"weight": bad}, "weight must be 1 to 2147483647, got") for bad in (0, -1, 2**31, 1.0, "3", True, None)],
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=str)
def test_what_is_wrong_is_named_by_task_and_options_alike(options: dict[str, Any], message: str) -> None:
    with pytest.raises(pgq.InvalidOption, match=f"^{message}"):
        free.options(**options)
    with pytest.raises(pgq.InvalidOption, match=f"^{message}"):
        work.task(name="never", **options)(lambda: None)
    assert "never" not in app.handlers


def test_a_weight_is_held_against_the_keys_it_ends_up_with() -> None:
    heavy = free.options(weight=11)
    assert heavy.options(limit_key="host:a")
    with pytest.raises(pgq.InvalidOption, match="weight must be at most 10"):
        heavy.options(limit_key="customer:a")
    with pytest.raises(pgq.InvalidOption, match="weight must be at most 10"):
        bill.options(weight=11)
    assert bill.options(weight=11, limit_key=None)


@pytest.mark.parametrize(
    ("limit_key", "message"),
    [
        ("customer:{custmer}", "task 'never' does not take what its limit_key names: limit_key needs 'custmer'"),
        (["host:{host}", "customer:{x}"], "task 'never' does not take what its limit_key names: limit_key needs 'x'"),
        ("{host}:a", "limit_key '{host}:a' is of no declared kind"),
    ],
)
def test_a_template_that_could_never_be_filled_is_refused_where_it_is_declared(limit_key: Any, message: str) -> None:
    with pytest.raises(pgq.InvalidOption, match=message):

        @work.task(name="never", limit_key=limit_key)
        def never(host: str) -> None: ...

    with pytest.raises(pgq.InvalidOption, match=r"does not take|no declared kind"):
        work.task(name="never", limit_key=limit_key)(lambda: None)


def test_an_app_without_limits_says_so() -> None:
    queue = pgq.App().queue("q")
    with pytest.raises(pgq.InvalidOption, match="limit_key 'host:a' is of no declared kind, this app has: none"):
        queue.task(name="t", limit_key="host:a")(lambda: None)


def test_a_limit_is_declared_once_and_kept_by_name() -> None:
    other = pgq.App()
    limit = other.key_limit("host", rate=pgq.Rate(5, per=2), concurrency=3)
    assert isinstance(limit, pgq.KeyLimit)
    assert other.key_limits == {"host": limit}
    assert (limit.quota.max, limit.quota.per, limit.quota.slots) == (5, 2.0, 3)
    with pytest.raises(pgq.InvalidOption, match="limit 'host' is declared twice"):
        other.key_limit("host", concurrency=1)
    assert other.key_limits == {"host": limit}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "a:b", "concurrency": 1}, "limit name must not contain a colon, got 'a:b'"),
        ({"name": "", "concurrency": 1}, "limit name must be 1 to 100 of"),
        ({"name": ["a"], "concurrency": 1}, "limit name must be 1 to 100 of"),
        ({"name": "a"}, "limit 'a' needs a rate, a concurrency or both"),
        ({"name": "a", "rate": "10/60s"}, "rate of limit 'a' must be a Rate, got '10/60s'"),
        ({"name": "a", "concurrency": 0}, "concurrency of limit 'a' must be at least 1, got 0"),
    ],
)
def test_a_limit_that_limits_nothing_is_refused(arguments: dict[str, Any], message: str) -> None:
    other = pgq.App()
    with pytest.raises(pgq.InvalidOption, match=message):
        other.key_limit(**arguments)
    assert other.key_limits == {}


def test_a_limit_changed_by_hand_stays_until_its_declaration_changes(conn: psycopg.Connection) -> None:
    conn.execute("update pgq.limits set rate_max = 1 where name = 'customer'")
    assert app.declare(conn) == []
    assert conn.execute("select rate_max from pgq.limits where name = 'customer'").fetchone() == (1,)
    changed = pgq.App()
    changed.key_limit("customer", rate=pgq.Rate(20, per=60))
    assert changed.declare(conn) == ["limit customer"]
    found = conn.execute("select rate_max, rate_per, concurrency from pgq.limits where name = 'customer'").fetchone()
    assert found == (20, 60.0, None)


def test_declarations_come_in_one_order_whatever_the_order_in_code() -> None:
    one, two = pgq.App(), pgq.App()
    for name in ("b", "a"):
        one.key_limit(name, concurrency=1)
        one.queue(name)
    for name in ("a", "b"):
        two.queue(name)
        two.key_limit(name, concurrency=1)
    assert one.declarations() == two.declarations()
