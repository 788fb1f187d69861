"""Whether a backlog slows the queue: 20K, 1M and 10M tasks that wait, and 20K that wait beside 1M due in the future.

Timed: bursts of 15,000 tasks by one worker, each from just before `pgq.resume` until another connection sees that
many outcomes; all cases take turns, ten times a repetition, so never does any of them run dry. `tasks_per_s` is the
median burst, `slowest_per_s` the least (one that stalls is cut off after 20 s), and `ratio_to_20k` compares the median
to that of the 20K case in the same repetition. `tasks_per_transaction` counts those that wrote: claims and settles.

On: one real `pgq.worker.Worker` process per case with concurrency 50 and defaults for all else, each with a database
of its own on the same server; the workers whose turn it is not stand at a paused queue. All tasks are of one queue and
of priority 5; of those due in the future half are due within the next hours and half over six days, at all priorities.
Rows are put there by `insert … select`; then each table is vacuumed and analyzed once, as autovacuum would have done
while so many gathered, and a checkpoint writes them to disk. After that, autovacuum does what it does by itself.
Between two bursts the 20K cases are filled up to 20K again, outside the timed stretch.

Durability: the server's as in the manifest; pgq's claims commit asynchronously, settle does not.

Checked: everything that ran ran once and is completed at its first attempt, and the future tasks are all still there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks.app import QUEUE
from benchmarks.harness import Bench
from benchmarks.results import Outcome
from benchmarks.stand import Burst, Stand, figures, stand

HEADLINE = ("tasks_per_s", "ratio_to_20k", "server_cpu_s_per_10k", "worker_cpu_s_per_10k")
_FUTURE = """
insert into pgq.tasks (queue, task, payload, timeout, max_attempts, priority, scheduled_at)
select %(queue)s, 'count', '{"i": 0}', 60, 5, i %% 11,
       clock_timestamp() + case when i %% 2 = 0 then interval '1 hour' + i * interval '6 milliseconds'
                                else interval '1 day' + i * interval '0.43 seconds' end
from generate_series(1, %(tasks)s) as i
"""
_STILL = "select count(*) from pgq.tasks where queue = %s and status = 'pending' and scheduled_at > clock_timestamp()"


@dataclass(frozen=True, slots=True)
class Case:
    """How many tasks wait, and how many are due in the future; `refill` keeps the former."""

    waiting: int
    future: int = 0
    refill: bool = False


@dataclass(frozen=True, slots=True)
class Size:
    """The cases, the first of which is what the others are compared to; how often, and how many tasks, a burst."""

    cases: Mapping[str, Case]
    bursts: int
    tasks: int


FULL = Size(
    {
        "20K waiting": Case(20_000, refill=True),
        "1M waiting": Case(1_000_000),
        "20K waiting, 1M in the future": Case(20_000, 1_000_000, refill=True),
        "10M waiting": Case(10_000_000),
    },
    10,
    15_000,
)
QUICK = Size({"2K waiting": Case(2_000, refill=True), "10K waiting, 10K in the future": Case(10_000, 10_000)}, 2, 1_000)


def run(bench: Bench) -> Outcome:
    """Fill one stand per case, then give them bursts by turns."""
    outcome = Outcome("backlog")
    size = bench.size(FULL, QUICK)
    first = next(iter(size.cases))
    cases = {name: case for name, case in size.cases.items() if name == first or bench.wants(name)}
    with ExitStack() as stack:
        stands = {name: stack.enter_context(filled(bench, name, case, size)) for name, case in cases.items()}
        for repetition in range(bench.repetitions):
            bursts: dict[str, list[Burst]] = {name: [] for name in cases}
            for _ in range(size.bursts):
                for name, case in cases.items():
                    bursts[name].append(stands[name].burst(size.tasks))
                    if case.refill:
                        stands[name].fill(bursts[name][-1].tasks)
            control = figures(stands[first], bursts[first])["tasks_per_s"]
            for name in cases:
                metrics = figures(stands[name], bursts[name])
                outcome.add(name, repetition, {"ratio_to_20k": metrics["tasks_per_s"] / control, **metrics})
                bench.say(
                    f"backlog {repetition + 1}/{bench.repetitions}: {name}: {metrics['tasks_per_s']:,.0f}/s, "
                    f"{metrics['tasks_per_s'] / control:.2f} of {first}"
                )
        for name, case in cases.items():
            check(outcome, name, case, stands[name])
    return outcome


@contextmanager
def filled(bench: Bench, name: str, case: Case, size: Size) -> Iterator[Stand]:
    """Yield a stand with the tasks of a case."""
    with stand(bench, case.waiting + bench.repetitions * size.bursts * 4 * size.tasks) as found:
        found.fill(case.waiting)
        if case.future:
            found.conn.execute(_FUTURE, {"queue": QUEUE, "tasks": case.future})
        found.tidy()
        bench.say(f"backlog: {name}: filled")
        yield found


def check(outcome: Outcome, name: str, case: Case, found: Stand) -> None:
    """Make the run invalid unless what ran ran once, and what is due later has not run."""
    found.check(outcome, name)
    ((still,),) = found.conn.execute(_STILL, (QUEUE,)).fetchall()
    outcome.require(still == case.future, f"{name}: {still} of {case.future} tasks are still due in the future")
