"""What limits cost and whether they hold: scripts, loose and tight limits, exhausted keys, priority at a limit.

Timed, each part on a fresh database and by turns in every repetition:

- `script …`: calls of one script by one client on one connection, from building the call to reading the reply. `take`
  reports the end of what it took before in the same call; `acquire` and `report` of 100 tasks take turns.
- `drain …`: the drain of the scenario `drain`, of 60,000 tasks by one process (10,000 with keys), three times in each
  repetition: one without any limit, then one with each kind of limit that does not bind, in changing order, which
  `ratio_to_no_limit` compares with it.
- `rate of …`: two processes empty a queue whose rate binds. `utilisation` is how much of that rate was used from the
  first start on, for whole windows, while a backlog waited; `fullest_window` is the most starts in any window.
- `… free behind … of an exhausted key`: from the resume of the paused queue, where the crowd of the exhausted key is
  first in line, until the last task of the free keys started.
- `single free tasks …`: from just before the call of `enqueue` until the first line of the handler, with random gaps
  of 20 to 80 ms: in an empty queue, while the crowd is being parked (`parking_s`: from the resume until no task of the
  exhausted key is due), and right after that.
- `priority 0 …`: two processes at the concurrency limit of a queue; how many others started between the commit of an
  urgent task and its start. `others_started` counts by the handlers' clock and holds those that were starting at that
  moment; `overtaking` counts those claimed after the commit, by the server's clock. A claim that was under way at the
  commit cannot see the task and counts as overtaking.

On: real `pgq.worker.Worker` processes, uvloop where installed, everything on; no-op async tasks except for the last
part. The limiter is one Redis-compatible server. Servers, workers and this harness share the machine.

Durability: the servers' as in the manifest; history is kept.

Checked: every task that may run was executed once; no window and no moment had more starts than its limit, by the
handlers' own notes; of an exhausted key nothing ran.
"""

from __future__ import annotations

import click

from benchmarks.harness import Bench
from benchmarks.limits import exhausted, loose, scripts, tight, urgent
from benchmarks.results import Outcome

HEADLINE = (
    "permits_per_s", "tasks_per_s", "ratio_to_no_limit", "utilisation", "last_free_start_s", "p99_ms", "delay_p50_ms",
)  # fmt: skip
PARTS = (scripts.run, loose.run, tight.run, exhausted.crowd_before_few, exhausted.behind_very_many, urgent.run)


def run(bench: Bench) -> Outcome:
    """Measure every part in each repetition. Raises UsageError without a limiter."""
    if not bench.redis_url:
        raise click.UsageError("limits needs a Redis: give --redis-url beside --dsn")
    outcome = Outcome("limits")
    for repetition in range(bench.repetitions):
        bench.say(f"limits {repetition + 1}/{bench.repetitions}")
        for part in PARTS:
            part(outcome, bench, repetition)
    return outcome
