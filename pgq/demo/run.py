"""The demo's front door: are the extras there, who gets to see what."""

from __future__ import annotations

import os
import signal
import sys
from importlib.util import find_spec

import click

from pgq.demo.plan import Plan
from pgq.demo.progress import Progress
from pgq.errors import ConfigError

EXTRAS = ("aiosmtpd", "fpdf", "PIL")
INTERRUPTED = 130


def main(plan: Plan, *, as_json: bool) -> int:
    """Run the demo; returns the exit code.

    0 when all was served within the limits, 1 when something was lost, a limit did not hold or time ran out, 130 on ^C.
    Embedded servers that it starts stay up. The report goes to stdout, as one JSON object if `as_json`; everything else
    goes to stderr. Raises PgqError, psycopg.Error.
    """
    if any(find_spec(module) is None for module in EXTRAS):
        raise ConfigError("the demo needs libraries that are not installed: pip install 'pgq-tasks[demo]'")
    progress = Progress(sys.stderr)
    try:
        return _run(plan, as_json, progress)
    except KeyboardInterrupt:
        progress.say("interrupted; the workers were stopped")
        return INTERRUPTED
    finally:
        progress.clear()


def _run(plan: Plan, as_json: bool, progress: Progress) -> int:
    os.environ["PGQ_DEMO_SPEED"] = str(plan.speed)  # the shop reads it when it is imported, here as in the workers
    from pgq.demo import report, story  # noqa: PLC0415 - they import the shop and the extras

    for number in (signal.SIGTERM, signal.SIGHUP):  # these stop the workers too, as Ctrl-C does
        signal.signal(number, signal.default_int_handler)
    ending = story.tell(plan, progress)
    progress.clear()
    if as_json:
        for complaint in report.complaints(ending):
            click.echo(complaint, err=True)
    click.echo(report.as_json(ending) if as_json else report.as_text(ending))
    return ending.exit_code
