"""One client of the enqueue benchmark: `python -m benchmarks.producer`, its order on stdin, its report on stdout.

Ours and its counterparts take turns on the same connection, so that whatever else the machine does meets both. The
harness calls each turn, and the next one when all clients have ended this one.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from benchmarks.app import QUEUE, noop

MANY = 1_000
COPIED = 10_000
WARM_UP = 6  # calls; psycopg prepares a statement at its sixth use

TABLES = """
create table orders (
  id bigint generated always as identity primary key,
  customer text not null,
  total numeric not null
);
create table bare_tasks (
  id bigint generated always as identity primary key,
  queue text not null,
  task text not null,
  payload json not null,
  created_at timestamptz not null default clock_timestamp()
);
create table shaped_tasks (like pgq.tasks including defaults including constraints including indexes)
  partition by range (scheduled_at);
do $$
declare
  day record;
begin
  for day in select * from pgq.partitions loop
    execute format('create table %I partition of shaped_tasks for values from (%L) to (%L)',
                   'shaped_' || day.name, day.starts_at, day.ends_at);
  end loop;
end
$$;
"""
_ORDER = "insert into orders (customer, total) values (%s, %s) returning id"
_BARE = "insert into bare_tasks (queue, task, payload) values (%s, %s, %s) returning id"
_BARE_MANY = (
    "insert into bare_tasks (queue, task, payload) select %s, %s, p::json from unnest(%s::text[]) as p returning id"
)
_BARE_COPY = "copy bare_tasks (queue, task, payload) from stdin"
_SHAPED = (
    "insert into shaped_tasks (queue, task, payload, priority, scheduled_at, max_attempts, timeout)"
    " values (%s, %s, %s, 5, clock_timestamp(), 5, 60) returning id"
)
_SHAPED_MANY = (
    "insert into shaped_tasks (queue, task, payload, priority, scheduled_at, max_attempts, timeout)"
    " select %s, %s, p::json, 5, clock_timestamp(), 5, 60 from unnest(%s::text[]) as p returning id"
)
_SHAPED_COPY = "copy shaped_tasks (queue, task, payload, max_attempts, timeout) from stdin"

Conn = psycopg.Connection
Work = Callable[[Conn, int], object]


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to enqueue and its counterparts; each call adds `rows` rows, numbered from its argument."""

    rows: int
    ours: Work
    bare: Work
    shaped: Work | None = None


def ours_single(conn: Conn, n: int) -> None:
    """Enqueue one task in a transaction of its own."""
    noop.enqueue(conn, i=n)


def bare_single(conn: Conn, n: int) -> None:
    """Insert one row in a transaction of its own."""
    conn.execute(_BARE, (QUEUE, "noop", json.dumps({"i": n}))).fetchone()


def shaped_single(conn: Conn, n: int) -> None:
    """Insert one row into the copy of our table, in a transaction of its own."""
    conn.execute(_SHAPED, (QUEUE, "noop", json.dumps({"i": n}))).fetchone()


def ours_business(conn: Conn, n: int) -> None:
    """Insert an order and enqueue one task, in one transaction."""
    with conn.transaction():
        conn.execute(_ORDER, ("Ada", n)).fetchone()
        noop.enqueue(conn, i=n)


def bare_business(conn: Conn, n: int) -> None:
    """Insert an order and one row, in one transaction."""
    with conn.transaction():
        conn.execute(_ORDER, ("Ada", n)).fetchone()
        conn.execute(_BARE, (QUEUE, "noop", json.dumps({"i": n}))).fetchone()


def ours_many(conn: Conn, n: int) -> None:
    """Enqueue 1,000 tasks in one call."""
    noop.enqueue_many(conn, [{"i": i} for i in range(n, n + MANY)])


def bare_many(conn: Conn, n: int) -> None:
    """Insert 1,000 rows in one statement."""
    payloads = [json.dumps({"i": i}) for i in range(n, n + MANY)]
    conn.execute(_BARE_MANY, (QUEUE, "noop", payloads)).fetchall()


def shaped_many(conn: Conn, n: int) -> None:
    """Insert 1,000 rows into the copy of our table in one statement."""
    payloads = [json.dumps({"i": i}) for i in range(n, n + MANY)]
    conn.execute(_SHAPED_MANY, (QUEUE, "noop", payloads)).fetchall()


def ours_copy(conn: Conn, n: int) -> None:
    """Copy 10,000 tasks in one call."""
    with conn.transaction():
        noop.copy(conn, ({"i": i} for i in range(n, n + COPIED)))


def bare_copy(conn: Conn, n: int) -> None:
    """Copy 10,000 rows in one statement."""
    with conn.transaction(), conn.cursor() as cursor, cursor.copy(_BARE_COPY) as sink:
        for i in range(n, n + COPIED):
            sink.write_row((QUEUE, "noop", json.dumps({"i": i})))


def shaped_copy(conn: Conn, n: int) -> None:
    """Copy 10,000 rows into the copy of our table in one statement."""
    with conn.transaction(), conn.cursor() as cursor, cursor.copy(_SHAPED_COPY) as sink:
        for i in range(n, n + COPIED):
            sink.write_row((QUEUE, "noop", json.dumps({"i": i}), 5, 60))


VARIANTS = {
    "single": Variant(1, ours_single, bare_single, shaped_single),
    "single + business insert": Variant(1, ours_business, bare_business),
    "enqueue_many 1,000": Variant(MANY, ours_many, bare_many, shaped_many),
    "COPY 10,000": Variant(COPIED, ours_copy, bare_copy, shaped_copy),
}


def main() -> None:
    """Warm up, then take the turns that are called until no more come; answer each with rows and seconds."""
    order = json.loads(sys.stdin.readline())
    variant = VARIANTS[order["variant"]]
    works = {"ours": variant.ours, "bare": variant.bare}
    if variant.shaped:
        works["shaped"] = variant.shaped
    with psycopg.connect(order["dsn"], autocommit=True) as conn:
        for work in works.values():
            for _ in range(WARM_UP):
                work(conn, 0)
        answer(WARM_UP * variant.rows, 0)
        for line in sys.stdin:
            which, begin, length = json.loads(line)
            calls, seconds = take_turn(conn, works[which], begin, length)
            answer(calls * variant.rows, seconds)


def take_turn(conn: Conn, work: Work, begin: float, length: float) -> tuple[int, float]:
    """Work from the moment `begin` of CLOCK_MONOTONIC for `length` seconds; returns calls and seconds."""
    calls = 0
    time.sleep(max(begin - time.monotonic(), 0))
    began = time.monotonic()
    while time.monotonic() < began + length:
        work(conn, calls)
        calls += 1
    return calls, time.monotonic() - began


def answer(rows: int, seconds: float) -> None:
    """Say what was done."""
    print(json.dumps([rows, seconds]), flush=True)


if __name__ == "__main__":
    main()
