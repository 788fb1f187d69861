"""`pgq worker`: run the tasks of an app, in this process or in several under a supervisor."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from pgq.cli.failure import connecting
from pgq.cli.options import dsn_option, duration
from pgq.cli.output import one_line
from pgq.cli.session import configure, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgq.app import App
    from pgq.config import Config

NAME = "PGQ_WORKER_NAME"  # set by the supervisor: what this process registers as
LEVELS = ("debug", "info", "warning", "error")


@click.command()
@click.argument("app", metavar="MODULE:APP")
@click.option("--queues", metavar="A,B", help="Only these queues; default: all that the app declares.")
@click.option("--concurrency", type=int, metavar="N", help="Tasks at once in each process.  [default: 20]")
@click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
              help="Worker processes; one that dies is replaced.")  # fmt: skip
@click.option("--burst", is_flag=True, help="Stop when nothing is due any more.")
@click.option("--lease", type=duration, help="Silence after which a worker counts as dead.  [default: 30s]")
@click.option("--grace", type=duration, help="What running tasks get at shutdown.  [default: 25s]")
@click.option("--poll", type=duration, help="Look at least this often, doorbell or not.  [default: 1s]")
@click.option("--redis-url", metavar="URL", help="For rate limits; default: PGQ_REDIS_URL.")
@click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    default="info",
    show_default=True,
    help="What to log to stderr, one line an event.",
)
@dsn_option
def worker(
    app: str, queues: str | None, processes: int, burst: bool, log_level: str, dsn: str | None, **given: Any
) -> None:
    """Run the tasks of an app.

    Writes the queues that the app declares, then claims, runs and settles their tasks until it is stopped.

    SIGTERM or ^C stops claiming, lets what runs finish within the grace time and hands the rest back. A second
    one ends at once. Nothing is lost either way.

    \b
    Examples:
      pgq worker shop.tasks:app
      pgq worker shop.tasks:app --queues email,webhooks --concurrency 50
      pgq worker shop.tasks:app --processes 4
      pgq worker shop.tasks:app --burst         run what is due, then end
    """
    if burst and processes > 1:
        raise click.UsageError("--burst works in one process: leave --processes out.")
    if NAME in os.environ:
        end_with_parent()
    served = None if queues is None else [name.strip() for name in queues.split(",") if name.strip()]
    if served == []:
        raise click.UsageError("--queues names no queue: leave it out to serve all.")
    log_to_stderr(log_level)
    loaded = load(app)
    names = list(loaded.served(served))  # an unknown queue is an error before anything starts
    config = configure(dsn, redis=True, given=given)
    if config.redis_url:
        os.environ["PGQ_REDIS_URL"] = config.redis_url  # child processes may use `app.limit`
    with connecting(config.dsn):
        if processes > 1:
            supervise(loaded, config, names, processes, log_level)
        else:
            work(loaded, config, names, burst=burst)


def work(app: App, config: Config, queues: Sequence[str], *, burst: bool) -> None:
    """Work in this process until a signal, or the end of a burst."""
    from pgq.cli.process import serve
    from pgq.worker import Worker

    serve(Worker(app, config, queues, name=os.environ.get(NAME, "")), burst=burst)


def supervise(app: App, config: Config, queues: Sequence[str], processes: int, log_level: str) -> None:
    """Keep several worker processes running until a signal."""
    import asyncio
    from dataclasses import asdict

    from pgq.connect import aconnect
    from pgq.supervisor import Supervisor
    from pgq.worker import Worker

    async def ready() -> None:  # one sentence now is better than one from each process, again and again
        async with await aconnect(config.dsn, "start") as conn:
            await Worker(app, config, queues).ready(conn)

    asyncio.run(ready())
    # By environment, not by arguments: those every user of the host can read.
    os.environ.update({f"PGQ_{name.upper()}": str(value) for name, value in asdict(config).items()})
    words = ["worker", app.path, "--queues", ",".join(queues), "--log-level", log_level]
    command = [sys.executable, "-m", "pgq.cli", *words]
    raise click.exceptions.Exit(Supervisor(command, processes, config, queues).run())


def log_to_stderr(level: str) -> None:
    """Log one line an event; an app may set logging up differently when it is imported."""
    import logging

    class OneLine(logging.Formatter):
        def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
            return one_line(super().formatMessage(record))

    handler = logging.StreamHandler()
    handler.setFormatter(OneLine("%(asctime)s %(levelname)-7s %(message)s"))
    logging.basicConfig(handlers=[handler], level=level.upper())


def end_with_parent() -> None:
    """Get SIGTERM the moment the parent ends: it can replace and bury nobody any more."""
    import ctypes
    import signal

    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        raise SystemExit(128 + signal.SIGTERM)
