"""The shop's business transactions: an order and the tasks it needs are committed together, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import psycopg
from psycopg.rows import class_row

from pgq.demo.app import deliver_webhook, make_thumbnail, send_email, write_invoice
from pgq.demo.web import CLOSED

TASKS_PER_ORDER = 2.5  # a mail and a webhook; one order in four also an invoice and a thumbnail
CUSTOMERS = ("ada", "grace", "edsger", "barbara", "donald", "frances", "ken")
RESET, NEWS = 0, 8  # priorities: a password reset overtakes every newsletter


@dataclass(frozen=True, slots=True)
class Order:
    """One row of `pgq_demo.orders`."""

    id: int
    customer: str
    total: Decimal


@dataclass(frozen=True, slots=True)
class Draft:
    """An order about to be placed; one that is `declined` is rolled back after all its tasks were enqueued."""

    customer: str
    total: Decimal
    declined: bool


def place_all(conn: psycopg.Connection, url: str, count: int) -> list[int]:
    """Commit `count` orders, the last fifth as one import; return the ids of about a tenth more, rolled back."""
    imported = count // 5
    rolled_back = []
    for draft in drafts(count - imported):
        with conn.transaction() as transaction:
            order = place(conn, url, draft)
            if draft.declined:
                rolled_back.append(order.id)
                raise psycopg.Rollback(transaction)
    import_many(conn, url, imported)
    return rolled_back


def drafts(committed: int) -> Iterator[Draft]:
    """Yield drafts until `committed` of them are to stay; the second and third are for the closed customer."""
    number = 0
    while committed > 0:
        number += 1
        customer = CLOSED if number in {2, 3} else CUSTOMERS[number % len(CUSTOMERS)]
        declined = number % 10 == 4  # noqa: PLR2004 - one in ten
        yield Draft(customer, Decimal(number * 1237 % 50_000 + 990) / 100, declined)
        committed -= not declined


def has_papers(order: int) -> bool:
    """Say whether an order needs an invoice and a thumbnail: few do, so that the processor does not limit the rest."""
    return order % 4 == 1


def place(conn: psycopg.Connection, url: str, draft: Draft) -> Order:
    """Insert one order and enqueue the tasks it needs in the same transaction."""
    order = insert(conn, draft.customer, draft.total)
    mail, subject = (RESET, "Reset your password") if order.id % 5 == 0 else (NEWS, "What is new in our shop")
    send_email.options(priority=mail).enqueue(conn, order.id, f"{order.customer}@example.org", subject)
    deliver_webhook.enqueue(conn, order.id, f"{url}/{order.customer}")
    if has_papers(order.id):
        write_invoice.enqueue(conn, order.id, order.customer, str(order.total))
        make_thumbnail.enqueue(conn, order.id)
    return order


def import_many(conn: psycopg.Connection, url: str, count: int) -> None:
    """Insert many orders at once and enqueue the tasks of each kind in one statement."""
    with conn.transaction():
        orders = [insert(conn, CUSTOMERS[n % len(CUSTOMERS)], Decimal(100 + n)) for n in range(count)]
        send_email.options(priority=NEWS).enqueue_many(
            conn,
            [{"order": o.id, "to": f"{o.customer}@example.org", "subject": "Welcome to our shop"} for o in orders],
        )
        deliver_webhook.enqueue_many(conn, [{"order": o.id, "url": f"{url}/{o.customer}"} for o in orders])
        papers = [order for order in orders if has_papers(order.id)]
        write_invoice.enqueue_many(
            conn, [{"order": o.id, "customer": o.customer, "total": str(o.total)} for o in papers]
        )
        make_thumbnail.enqueue_many(conn, [{"order": o.id} for o in papers])


def insert(conn: psycopg.Connection, customer: str, total: Decimal) -> Order:
    """Insert one row and return it."""
    with conn.cursor(row_factory=class_row(Order)) as cursor:
        cursor.execute(
            "insert into pgq_demo.orders (customer, total) values (%s, %s) returning id, customer, total",
            (customer, total),
        )
        (order,) = cursor.fetchall()
    return order


def committed(conn: psycopg.Connection) -> list[Order]:
    """Return the orders that exist."""
    with conn.cursor(row_factory=class_row(Order)) as cursor:
        return cursor.execute("select id, customer, total from pgq_demo.orders order by id").fetchall()
