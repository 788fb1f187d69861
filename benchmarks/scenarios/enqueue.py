"""How fast tasks are enqueued, beside a bare insert by the same driver into a plain table.

Timed: calls on an open psycopg connection in a loop, from the first to the return of the last, durable commit included;
`tasks_per_s` is the sum over the clients of rows by seconds. Connecting and six calls that warm up (psycopg prepares
a statement at its sixth use) are outside. Ours and the bare insert take turns, 1 s each, on the same connections;
`ratio_to_bare` compares the turns of one repetition.

Four ways: `single`, one task in a transaction of its own; `single + business insert`, one task and one row of an orders
table in one transaction; `enqueue_many 1,000` a call; `COPY 10,000` a call. Each by 1 client and by 8 clients, which
are processes, as web workers are. Payloads are encoded inside the loop on both sides; pgq checks them too.

On: an empty queue, no worker (nobody sleeps, so nothing rings). The bare table has a primary key and the columns queue,
task, payload, created_at, and no other index. Clients, server and this harness share the machine.

Durability: the server's as in the manifest; every call commits durably on both sides.

Checked: every enqueued task is a row. The costs per task are those of our turns.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import psycopg

from benchmarks.children import Child, children
from benchmarks.harness import Bench
from benchmarks.measure import Gauge, Reading, costs
from benchmarks.producer import TABLES, VARIANTS
from benchmarks.results import Outcome

HEADLINE = ("tasks_per_s", "ratio_to_bare", "wal_bytes_per_task")


@dataclass(frozen=True, slots=True)
class Size:
    """How many clients take how many turns each at ours and at the bare insert, and the seconds of a turn."""

    clients: tuple[int, ...]
    turns: int
    length: float


@dataclass(frozen=True, slots=True)
class Turn:
    """What all clients together did in one turn, and what it cost."""

    rows: int
    per_second: float
    spent: Reading


def run(bench: Bench) -> Outcome:
    """Measure each way with few and many clients."""
    outcome = Outcome("enqueue")
    size = bench.size(Size((1, 8), 3, 1.0), Size((1, 2), 1, 0.1))
    for repetition in range(bench.repetitions):
        for variant in VARIANTS:
            for clients in size.clients:
                case = f"{variant}, {clients} client{'s' if clients > 1 else ''}"
                metrics = measure(outcome, bench, variant, clients, size)
                outcome.add(case, repetition, metrics)
                bench.say(
                    f"enqueue {repetition + 1}/{bench.repetitions}: {case}: "
                    f"{metrics['tasks_per_s']:,.0f}/s, {metrics['ratio_to_bare']:.2f} of bare"
                )
    return outcome


def measure(outcome: Outcome, bench: Bench, variant: str, clients: int, size: Size) -> dict[str, float]:
    """Let clients take turns at ours and at the bare insert; returns the metrics."""
    with bench.database() as dsn, psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(TABLES)
        with children("benchmarks.producer", [{"dsn": dsn, "variant": variant}] * clients) as crew:
            warm_up = sum(child.hear()[0] for child in crew)
            gauge = Gauge(conn, [child.pid for child in crew])
            turns = [call_turn(gauge, crew, which, size.length) for which in ("ours", "bare") * size.turns]
        ((rows,),) = conn.execute("select count(*) from pgq.tasks").fetchall()
    ours, bare = turns[::2], turns[1::2]
    expected = warm_up + sum(turn.rows for turn in ours)
    outcome.require(rows == expected, f"{variant}, {clients} clients: {rows} rows, {expected} enqueued")
    return figures(ours, bare, VARIANTS[variant].rows)


def call_turn(gauge: Gauge, crew: Sequence[Child], which: str, length: float) -> Turn:
    """Call one turn of all clients and wait for its end."""
    before = gauge.read()
    for child in crew:
        child.tell([which, time.monotonic() + 0.02, length])
    answers = [child.hear() for child in crew]
    rate = sum(rows / seconds for rows, seconds in answers)
    return Turn(sum(rows for rows, _ in answers), rate, gauge.read() - before)


def figures(ours: Sequence[Turn], bare: Sequence[Turn], rows_per_call: int) -> dict[str, float]:
    """Return the metrics of all turns."""
    mine, others = mean(turn.per_second for turn in ours), mean(turn.per_second for turn in bare)
    spent = sum((turn.spent for turn in ours[1:]), ours[0].spent)
    return {
        "tasks_per_s": mine,
        "bare_per_s": others,
        "ratio_to_bare": mine / others,
        "transactions_per_s": mine / rows_per_call,
        **costs(spent, sum(turn.rows for turn in ours), "client"),
    }
