"""`pgq worker`: run the tasks of an app, in this process or in several under a supervisor."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from pgq.cli.failure import connecting
from pgq.cli.options import dsn_option, duration, span
from pgq.cli.session import configure, load
from pgq.handler import ALERTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgq.app import App
    from pgq.config import Config
    from pgq.scale import Span

NAME = "PGQ_WORKER_NAME"  # set by the supervisor: what this process registers as
UNDER = "PGQ_WORKER_UNDER"  # likewise: the supervisor, and how many processes it runs
SLOT = "PGQ_WORKER_SLOT"  # as well: its number among its siblings, from 0
LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")


@click.command()
@click.argument("app", metavar="MODULE:APP")
@click.option("--queues", metavar="A,B", help="Only these queues; default: all that the app declares.")
@click.option("--concurrency", type=int, metavar="N", help="Tasks at once in each process.  [default: 20]")
@click.option("--processes", type=span, default="1", show_default=True, metavar="N|A..B",
              help="Worker processes; one that dies is replaced. A..B: as many as are needed.")  # fmt: skip
@click.option("--alerts", is_flag=True, help="Also look at the rules of `pgq alerts`, and tell their targets.")
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
@click.option("--log-format", type=click.Choice(FORMATS), envvar="PGQ_LOG_FORMAT", default="text", show_default=True,
              help="How: for people, or one JSON object a line; default: PGQ_LOG_FORMAT.")  # fmt: skip
@click.option("--metrics-port", type=click.IntRange(0, 65_535), metavar="N",
              help="Serve Prometheus metrics here; each of several processes takes the next port.")  # fmt: skip
@click.option("--metrics-host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="And at this address.")
@dsn_option
def worker(
    app: str, queues: str | None, processes: Span, alerts: bool, burst: bool, log_level: str, log_format: str,
    metrics_port: int | None, metrics_host: str, dsn: str | None, **given: Any,
) -> None:  # fmt: skip
    """Run the tasks of an app.

    Writes the queues that the app declares, then claims, runs and settles their tasks until it is stopped.

    SIGTERM or ^C stops claiming, lets what runs finish within the grace time and hands the rest back. A second
    one ends at once. Nothing is lost either way.

    With --processes 2..16 it grows when tasks wait for slots, and shrinks when that has been over for a while. What
    a limit holds back is no need.

    \b
    Examples:
      pgq worker shop.tasks:app
      pgq worker shop.tasks:app --queues email,webhooks --concurrency 50
      pgq worker shop.tasks:app --processes 4
      pgq worker shop.tasks:app --processes 2..16
      pgq worker shop.tasks:app --alerts        raise alerts too, see `pgq alerts`
      pgq worker shop.tasks:app --burst         run what is due, then end
      pgq worker shop.tasks:app --log-format json --metrics-port 9100
    """
    from pgq import logs

    if burst and processes.most > 1:
        raise click.UsageError("--burst works in one process: leave --processes out.")
    if NAME in os.environ:
        end_with_parent()
    logs.to_stderr(log_level, log_format)
    loaded, config, names = ready(app, named(queues), dsn, given, alerts=alerts)
    metrics = None if metrics_port is None else (metrics_host, metrics_port)
    with connecting(config.dsn):
        if processes.most > 1:
            supervise(loaded, config, names, processes, ["--log-level", log_level], metrics, alerts=alerts)
        else:
            work(loaded, config, names, metrics, alerts=alerts, burst=burst)


def named(queues: str | None) -> list[str] | None:
    """Return the queues that --queues names, or None. Raises UsageError where it names none."""
    if queues is None:
        return None
    names = [name.strip() for name in queues.split(",") if name.strip()]
    if not names:
        raise click.UsageError("--queues names no queue: leave it out to serve all.")
    return names


def ready(
    app: str, served: list[str] | None, dsn: str | None, given: dict[str, Any], *, alerts: bool
) -> tuple[App, Config, list[str]]:
    """Return the app, the settings, and the queues to serve."""
    from pgq import logs

    loaded = load(app)
    names = list(loaded.served(served))  # an unknown queue is an error before anything starts
    config = configure(dsn, redis=True, given=given)
    logs.hide(config.dsn, config.redis_url)
    if alerts:
        names = with_alerts(loaded, config, names)
    if config.redis_url:
        os.environ["PGQ_REDIS_URL"] = config.redis_url  # child processes may use `app.limit`
    return loaded, config, names


def with_alerts(app: App, config: Config, queues: Sequence[str]) -> list[str]:
    """Let an app's workers deliver alerts; returns the queues that they serve then."""
    from pgq.alerts.deliver import attach

    attach(app, config.dsn)
    return [*queues, ALERTS]


def work(
    app: App, config: Config, queues: Sequence[str], metrics: tuple[str, int] | None, *, alerts: bool, burst: bool
) -> None:
    """Work in this process until a signal, or the end of a burst."""
    from pgq.cli.process import serve
    from pgq.worker import Worker

    beside = {}
    if alerts:
        from pgq.alerts.watch import watch

        beside["alerts"] = watch
    made = Worker(app, config, queues, os.environ.get(NAME, ""), os.environ.get(UNDER, ""), beside)
    if metrics is not None:
        from pgq import metrics as pages

        host, port = metrics
        pages.bind(port + int(os.environ.get(SLOT, "0")) if port else 0, host, config.dsn, made).start()
    serve(made, burst=burst)


def supervise(
    app: App, config: Config, queues: Sequence[str], processes: Span, words: Sequence[str],
    metrics: tuple[str, int] | None, *, alerts: bool,
) -> None:  # fmt: skip
    """Keep several worker processes running until a signal; each gets these words too, and PGQ_LOG_FORMAT."""
    import asyncio
    from dataclasses import asdict

    from pgq.connect import aconnect
    from pgq.ready import make_ready
    from pgq.supervisor import Supervisor

    async def ready() -> None:  # one sentence now is better than one from each process, again and again
        async with await aconnect(config.dsn, "start") as conn:
            await make_ready(conn, app, config, queues, "")

    asyncio.run(ready())
    # By environment, not by arguments: those every user of the host can read.
    os.environ.update({f"PGQ_{name.upper()}": str(value) for name, value in asdict(config).items()})
    own = [name for name in queues if name != ALERTS]  # --alerts adds the other
    words = ["worker", app.path, "--queues", ",".join(own), *(["--alerts"] if alerts else []), *words]
    if metrics is not None:
        from pgq import metrics as pages

        host, port = metrics
        for slot in range(processes.most):  # one sentence now, as above
            pages.check(port + slot if port else 0, host)
        words += ["--metrics-host", host, "--metrics-port", str(port)]
    command = [sys.executable, "-m", "pgq.cli", *words]
    raise click.exceptions.Exit(Supervisor(command, processes, config, queues).run())


def end_with_parent() -> None:
    """Get SIGTERM the moment the parent ends: it can replace and bury nobody any more."""
    import ctypes
    import signal

    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        raise SystemExit(128 + signal.SIGTERM)
