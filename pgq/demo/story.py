"""The story, top to bottom: place orders, start workers, kill one of them, wait for the end, judge.

Imported only after `run` has seen that the extras are installed.
"""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import psycopg

from pgq.config import Config
from pgq.demo import database, orders, smtp, web, workers
from pgq.demo.app import app, email, webhooks
from pgq.demo.check import Evidence, Verdict, verdict
from pgq.demo.counts import Counts, Waits, ended, read_counts, read_dead, read_throttles, read_waits
from pgq.demo.limits import Backlog, Proof, proofs
from pgq.demo.plan import Plan
from pgq.demo.progress import Progress
from pgq.demo.workers import Victim
from pgq.embedded import Servers
from pgq.errors import ConfigError, PgqError
from pgq.limiter import RedisError, connect_redis

PAUSE = 0.1  # seconds between two looks at the queues


@dataclass(frozen=True, slots=True)
class Watched:
    """How the work went: who was killed, until when tasks waited, and whether every task ended in time."""

    victim: Victim | None
    backlog: Backlog
    finished: bool


@dataclass(frozen=True, slots=True)
class Ending:
    """All there is to report. Times are seconds."""

    verdict: Verdict
    evidence: Evidence
    watched: Watched
    limits: list[Proof]
    counts: list[Counts]
    waits: Waits
    rolled_back: int
    seconds: float

    @property
    def exit_code(self) -> int:
        """0 when everything was served in time, within the limits, and nothing else."""
        held = all(proof.held for proof in self.limits)
        return 0 if self.verdict.good and held and self.watched.finished else 1


def tell(plan: Plan, progress: Progress) -> Ending:
    """Run the demo. Raises PgqError and psycopg.Error when it cannot be run."""
    servers = reach_servers(plan, progress)
    folder = Path(tempfile.mkdtemp(prefix="pgq-demo-"))
    with smtp.listening() as mailbox, web.listening() as customers, database.prepared(servers.dsn) as conn:
        before = database.newest_task(conn)
        rolled_back = orders.place_all(conn, customers.url, int(plan.tasks / orders.TASKS_PER_ORDER))
        placed = orders.committed(conn)
        progress.say(f"{len(placed)} orders committed with their tasks, {len(rolled_back)} more rolled back on purpose")
        environment = {
            "PGQ_DSN": servers.dsn,
            "PGQ_REDIS_URL": servers.redis_url,
            "PGQ_LIMIT_PREFIX": database.limit_prefix(conn),
            "PGQ_UPKEEP": str(Config().upkeep / plan.speed),  # it looks at limits, so as often as their windows pass
            "PGQ_DEMO_SMTP_PORT": str(mailbox.port),
            "PGQ_DEMO_FOLDER": str(folder),
        }
        with workers.running(environment, folder / "workers.log") as supervisor:
            progress.say(f"{workers.PROCESSES} worker processes start; their log is {folder / 'workers.log'}")
            watched = watch(conn, before, supervisor, plan.seconds, progress)
            progress.say("stopping the workers")
        evidence = Evidence(
            placed, mailbox.deliveries, customers.deliveries, dead=read_dead(conn, before), folder=folder
        )
        return Ending(
            verdict(evidence),
            evidence,
            watched,
            limits=prove(evidence, watched),
            counts=read_counts(conn, before),
            waits=read_waits(conn, before),
            rolled_back=len(rolled_back),
            seconds=progress.seconds,
        )


def reach_servers(plan: Plan, progress: Progress) -> Servers:
    """Return the servers given, or start the embedded ones. Raises ConfigError where Redis does not answer."""
    servers = Servers(plan.dsn, plan.redis_url) if plan.dsn else start_servers(plan, progress)
    try:
        with closing(connect_redis(servers.redis_url)) as client:
            client.time()  # which the user of `pgq limits acl` may
    except (RedisError, OSError) as error:
        raise ConfigError(f"the Redis that the limits need does not answer: {error}") from None
    return servers


def start_servers(plan: Plan, progress: Progress) -> Servers:
    """Start the embedded servers, or join them where they run."""
    progress.say("starting the embedded Postgres and Valkey")
    servers = database.embedded_servers(plan.redis_url)
    progress.say(f"they run, and stay up until `pgq down`; the demo's database is {servers.dsn}")
    return servers


def watch(
    conn: psycopg.Connection, before: int, supervisor: subprocess.Popen[bytes], seconds: float, progress: Progress
) -> Watched:
    """Show the progress until every task has ended or the time is over; kill a worker when a third is done."""
    victim: Victim | None = None
    crew: set[int] = set()  # while a replacement is awaited: who worked at the time of the kill
    backlog = Backlog()
    while True:
        looked_at = monotonic()
        counts = read_counts(conn, before)
        backlog.look(counts, looked_at)
        progress.show(counts, read_throttles(conn))
        done, total = ended(counts), sum(queue.total for queue in counts)
        if done == total or progress.seconds >= seconds:
            return Watched(victim, backlog, done == total)
        present = workers.pids(conn, supervisor.pid)
        if victim is None and done * 3 >= total and len(present) == workers.PROCESSES:
            crew, victim = present, workers.kill_busiest(conn, supervisor.pid)
            progress.say(f"kill -9 {victim.pid}: this worker held {victim.held} tasks")
        elif crew and (new := present - crew):
            crew = set()
            progress.say(f"worker process {min(new)} took its place")
        with suppress(subprocess.TimeoutExpired):
            raise PgqError(f"the workers ended by themselves, with exit code {supervisor.wait(PAUSE)}: see their log")


def prove(evidence: Evidence, watched: Watched) -> list[Proof]:
    """Hold what the servers received against the limits of the queues it came from."""
    received = {email.name: evidence.mails, webhooks.name: evidence.hooks}
    return proofs((queue.settings for queue in app.queues.values()), received, watched.backlog.until)
