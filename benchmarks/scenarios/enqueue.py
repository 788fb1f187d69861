"""How fast tasks are enqueued, beside bare inserts by the same driver and beside ours without any notify.

Timed: calls on an open psycopg connection in a loop, from the first to the return of the last, durable commit included;
`tasks_per_s` is the sum over the clients of rows by seconds, in the median turn. Connecting and six calls that warm up
(psycopg prepares a statement at its sixth use) are outside. Ours and everything beside it take turns, eight of 0.4 s
each, on the same connections; a ratio is the median of those of neighbouring turns.

Four ways: `single`, one task in a transaction of its own; `single + business insert`, one task and one row of an orders
table in one transaction; `enqueue_many 1,000` a call; `COPY 10,000` a call. Clients are processes, as web workers are.
Payloads are encoded inside the loop on all sides; pgq checks them too.

Beside ours: `bare`, the same driver's insert into a table that has a primary key, the columns queue, task, payload and
created_at, and no other index. `shaped`, the same row by the same driver into a copy of `pgq.tasks` with its columns,
indexes and days, so one sees what the table costs and what our call costs. `no_notify`, our own call with `pgq.ring`
replaced by one that does nothing; `rung`, our own call while a session sleeps with the bell and listens, so that every
call rings, which no awake worker lets happen; `always`, our own call with a `pgq.ring` that notifies each time. The
last two are compared to `no_notify` (`rung_to_no_notify`).

On: an empty queue, no worker (but for `rung` nobody sleeps, so nothing rings). Clients, server and this harness share
the machine.

Durability: the server's as in the manifest; every call commits durably on all sides.

Checked: every enqueued task is a row; `rung` and `always` were heard by a listener, the others were not, and
`no_notify` takes no advisory lock. The costs per task are those of our turns.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import psycopg

from benchmarks.bell import Bell
from benchmarks.children import Child, children
from benchmarks.harness import Bench
from benchmarks.measure import Gauge, Reading, costs
from benchmarks.producer import TABLES, VARIANTS
from benchmarks.results import Outcome

AGAINST = ("bare", "shaped", "no_notify")
RINGS = ("rung", "always")
HEADLINE = ("tasks_per_s", "ratio_to_bare", "ratio_to_shaped", "ratio_to_no_notify", "wal_bytes_per_task")
BESIDE = {  # what takes turns with ours
    "single": ("bare", "shaped", "no_notify", "rung", "always"),
    "single + business insert": ("bare", "no_notify", "rung", "always"),
    "enqueue_many 1,000": ("bare", "shaped"),
    "COPY 10,000": ("bare", "shaped"),
}
CLIENTS = {"single": (1, 8, 64, 100), "single + business insert": (1, 8, 64)}


@dataclass(frozen=True, slots=True)
class Size:
    """The most clients, how many turns each takes at everything, and the seconds of a turn."""

    most: int
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
    size = bench.size(Size(100, 8, 0.4), Size(8, 1, 0.1))
    for repetition in range(bench.repetitions):
        for variant, beside in BESIDE.items():
            for clients in (count for count in CLIENTS.get(variant, (1, 8)) if count <= size.most):
                case = f"{variant}, {clients} client{'s' if clients > 1 else ''}"
                if not bench.wants(case):
                    continue
                metrics = measure(outcome, bench, variant, clients, size)
                outcome.add(case, repetition, metrics)
                rates = (f", {which} {metrics[f'{which}_per_s']:,.0f}" for which in beside)
                bench.say(f"enqueue {repetition + 1}: {case}: {metrics['tasks_per_s']:,.0f}/s{''.join(rates)}")
    return outcome


def measure(outcome: Outcome, bench: Bench, variant: str, clients: int, size: Size) -> dict[str, float]:
    """Let clients take turns at ours and all beside it; returns the metrics."""
    where = f"{variant}, {clients} clients"
    whiches = ("ours", *BESIDE[variant])
    turns: dict[str, list[Turn]] = {which: [] for which in whiches}
    with bench.database() as dsn, psycopg.connect(dsn, autocommit=True) as conn, Bell(dsn) as bell:
        conn.execute(TABLES)
        with children("benchmarks.producer", [{"dsn": dsn, "variant": variant}] * clients) as crew:
            warm_up = sum(child.hear()[0] for child in crew)
            gauge = Gauge(conn, [child.pid for child in crew])
            for which in whiches * size.turns:
                with bell.set(which):
                    turns[which].append(call_turn(gauge, crew, WORK.get(which, "ours"), size.length))
                    outcome.problems += [f"{where}: {problem}" for problem in bell.problems(which, conn)]
        ((rows,),) = conn.execute("select count(*) from pgq.tasks").fetchall()
    ours = [turn for which, found in turns.items() if which not in WORK for turn in found]
    expected = warm_up + sum(turn.rows for turn in ours)
    outcome.require(rows == expected, f"{where}: {rows} rows, {expected} enqueued")
    return figures(turns, VARIANTS[variant].rows)


WORK = {"bare": "bare", "shaped": "shaped"}  # all else is ours


def call_turn(gauge: Gauge, crew: Sequence[Child], work: str, length: float) -> Turn:
    """Call one turn of all clients and wait for its end."""
    before = gauge.read()
    for child in crew:
        child.tell([work, time.monotonic() + 0.02 + len(crew) / 2_000, length])
    answers = [child.hear() for child in crew]
    rate = sum(rows / seconds for rows, seconds in answers)
    return Turn(sum(rows for rows, _ in answers), rate, gauge.read() - before)


def figures(turns: Mapping[str, Sequence[Turn]], rows_per_call: int) -> dict[str, float]:
    """Return the metrics of all turns."""
    rates = {which: [turn.per_second for turn in found] for which, found in turns.items()}
    ours = turns["ours"]
    spent = sum((turn.spent for turn in ours[1:]), ours[0].spent)
    ratios = {f"ratio_to_{which}": _ratio(rates["ours"], rates[which]) for which in AGAINST if which in rates}
    rings = {f"{which}_to_no_notify": _ratio(rates[which], rates["no_notify"]) for which in RINGS if which in rates}
    mine = median(rates.pop("ours"))
    return {
        "tasks_per_s": mine,
        **ratios,
        **rings,
        **{f"{which}_per_s": median(found) for which, found in rates.items()},
        "transactions_per_s": mine / rows_per_call,
        **costs(spent, sum(turn.rows for turn in ours), "client"),
    }


def _ratio(rates: Sequence[float], others: Sequence[float]) -> float:
    return median(rate / other for rate, other in zip(rates, others, strict=True))
