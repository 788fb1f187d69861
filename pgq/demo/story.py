"""The story, top to bottom: place orders, start workers, kill one of them, wait for the end, judge.

Imported only after `run` has seen that the extras are installed.
"""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from pgq.demo import database, orders, smtp, web, workers
from pgq.demo.check import Evidence, Verdict, verdict
from pgq.demo.counts import Counts, Waits, ended, read_counts, read_dead, read_waits
from pgq.demo.progress import Progress
from pgq.demo.workers import Victim
from pgq.embedded import Servers
from pgq.errors import PgqError

PAUSE = 0.1  # seconds between two looks at the queues


@dataclass(frozen=True, slots=True)
class Watched:
    """How the work went: who was killed, and whether every task ended in time."""

    victim: Victim | None
    finished: bool


@dataclass(frozen=True, slots=True)
class Ending:
    """All there is to report. Times are seconds."""

    verdict: Verdict
    evidence: Evidence
    watched: Watched
    counts: list[Counts]
    waits: Waits
    rolled_back: int
    seconds: float

    @property
    def exit_code(self) -> int:
        """0 when everything was served in time, and nothing else."""
        return 0 if self.verdict.good and self.watched.finished else 1


def tell(dsn: str | None, seconds: float, tasks: int, progress: Progress) -> Ending:
    """Run the demo. Raises PgqError and psycopg.Error when it cannot be run."""
    servers = Servers(dsn, "") if dsn else start_servers(progress)
    folder = Path(tempfile.mkdtemp(prefix="pgq-demo-"))
    with smtp.listening() as mailbox, web.listening() as customers, database.prepared(servers.dsn) as conn:
        before = database.newest_task(conn)
        rolled_back = orders.place_all(conn, customers.url, tasks // orders.TASKS_PER_ORDER)
        placed = orders.committed(conn)
        progress.say(f"{len(placed)} orders committed with their tasks, {len(rolled_back)} more rolled back on purpose")
        environment = {
            "PGQ_DSN": servers.dsn,
            "PGQ_DEMO_SMTP_PORT": str(mailbox.port),
            "PGQ_DEMO_FOLDER": str(folder),
            **({"PGQ_REDIS_URL": servers.redis_url} if servers.redis_url else {}),
        }
        with workers.running(environment, folder / "workers.log") as supervisor:
            progress.say(f"{workers.PROCESSES} worker processes start; their log is {folder / 'workers.log'}")
            watched = watch(conn, before, supervisor, seconds, progress)
            progress.say("stopping the workers")
        dead = read_dead(conn, before)
        evidence = Evidence(placed, mailbox.deliveries, customers.deliveries, dead, folder)
        return Ending(
            verdict(evidence),
            evidence,
            watched,
            counts=read_counts(conn, before),
            waits=read_waits(conn, before),
            rolled_back=len(rolled_back),
            seconds=progress.seconds,
        )


def start_servers(progress: Progress) -> Servers:
    """Start the embedded servers, or join them where they run."""
    progress.say("starting the embedded Postgres and Valkey")
    servers = database.embedded_servers()
    progress.say(f"they run, and stay up until `pgq down`; the demo's database is {servers.dsn}")
    return servers


def watch(
    conn: psycopg.Connection, before: int, supervisor: subprocess.Popen[bytes], seconds: float, progress: Progress
) -> Watched:
    """Show the progress until every task has ended or the time is over; kill a worker when a third is done."""
    victim: Victim | None = None
    crew: set[int] = set()  # while a replacement is awaited: who worked at the time of the kill
    while True:
        counts = read_counts(conn, before)
        progress.show(counts)
        done, total = ended(counts), sum(queue.total for queue in counts)
        if done == total or progress.seconds >= seconds:
            return Watched(victim, done == total)
        present = workers.pids(conn, supervisor.pid)
        if victim is None and done * 3 >= total and len(present) == workers.PROCESSES:
            crew, victim = present, workers.kill_busiest(conn, supervisor.pid)
            progress.say(f"kill -9 {victim.pid}: this worker held {victim.held} tasks")
        elif crew and (new := present - crew):
            crew = set()
            progress.say(f"worker process {min(new)} took its place")
        with suppress(subprocess.TimeoutExpired):
            raise PgqError(f"the workers ended by themselves, with exit code {supervisor.wait(PAUSE)}: see their log")
