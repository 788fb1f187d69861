"""The demo's front door: are the extras there, does the run make sense, who gets to see what."""

from __future__ import annotations

import signal
import sys
from importlib.util import find_spec

import click

from pgq.demo.progress import Progress
from pgq.errors import ConfigError

EXTRAS = ("aiosmtpd", "fpdf", "PIL")
FEWEST = 20  # tasks: enough orders for one that is declined and two that nobody accepts
INTERRUPTED = 130


def main(*, dsn: str | None, seconds: float, tasks: int, as_json: bool) -> int:
    """Run the demo; returns the exit code: 0 when all was served, 1 when something was lost or time ran out, 130 on ^C.

    Without a DSN the embedded servers are started, and stay up. `seconds` is how long it may take. The report goes to
    stdout, as one JSON object if `as_json`; everything else goes to stderr. Raises PgqError, psycopg.Error.
    """
    _check(tasks)
    progress = Progress(sys.stderr)
    try:
        return _run(dsn, seconds, tasks, as_json, progress)
    except KeyboardInterrupt:
        progress.say("interrupted; the workers were stopped")
        return INTERRUPTED
    finally:
        progress.clear()


def _check(tasks: int) -> None:
    if any(find_spec(module) is None for module in EXTRAS):
        raise ConfigError("the demo needs libraries that are not installed: pip install 'pgq-tasks[demo]'")
    if tasks < FEWEST:
        raise ConfigError(f"tasks must be at least {FEWEST}, got {tasks}")


def _run(dsn: str | None, seconds: float, tasks: int, as_json: bool, progress: Progress) -> int:
    from pgq.demo import report, story  # noqa: PLC0415 - they import the extras

    for number in (signal.SIGTERM, signal.SIGHUP):  # these stop the workers too, as Ctrl-C does
        signal.signal(number, signal.default_int_handler)
    ending = story.tell(dsn, seconds, tasks, progress)
    progress.clear()
    if as_json:
        for complaint in report.complaints(ending):
            click.echo(complaint, err=True)
    click.echo(report.as_json(ending) if as_json else report.as_text(ending))
    return ending.exit_code
