"""The command `pgq`. Commands import what they need when they run, so that help comes at once."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

import click

from pgq.cli.alerts import alerts
from pgq.cli.audit import audit
from pgq.cli.check import check
from pgq.cli.dashboard import dashboard
from pgq.cli.dead import dead
from pgq.cli.demo import demo
from pgq.cli.enqueue import enqueue
from pgq.cli.failure import INTERRUPTED, sentence
from pgq.cli.health import doctor
from pgq.cli.limits import limits
from pgq.cli.queues import queues
from pgq.cli.schema import migrate
from pgq.cli.servers import down, up
from pgq.cli.sql import sql
from pgq.cli.stats import stats
from pgq.cli.tasks import tasks
from pgq.cli.top import top
from pgq.cli.worker import worker
from pgq.cli.workers import workers
from pgq.version import __version__


class Root(click.Group):
    """The group of all commands: in order of use, and with errors as sentences."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the commands in the order in which a newcomer needs them."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what goes wrong on purpose ends as one sentence and an exit code."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except Exception as error:  # noqa: BLE001 - raised again unless it has a sentence
            raise sentence(error) or error from error.__cause__


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="pgq", message="%(prog)s %(version)s")
def cli() -> None:
    """Run and look after a task queue whose only store is Postgres.

    Commands find the database by --dsn, else PGQ_DSN, else DATABASE_URL. With none of them, and
    pgq-tasks[embedded] installed, they start a Postgres of their own, which `pgq down` stops.

    \b
    A first tour:
      pgq demo                                  watch four queues do real work
      pgq migrate                               install or update the schema
      pgq worker shop.tasks:app                 run the tasks of an app
      pgq enqueue email send_email '{"to": "ada@example.org"}'
      pgq stats                                 what waits, runs, ended
      pgq dashboard                             the same and more, live in a browser
      pgq doctor                                what is wrong, and what to do about it
    """


for command in (
    up, down, demo, migrate, worker, enqueue, tasks, dead, queues, limits, workers, stats, top, dashboard,
    sql, audit, check, alerts, doctor,
):  # fmt: skip
    cli.add_command(command)


def main() -> None:
    """Run the command line of this process."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a character still gets the rest
            stream.reconfigure(errors="backslashreplace")
    try:
        cli(prog_name="pgq")
    except OSError as error:  # help that cannot be printed; commands have their own sentences
        click.echo(f"pgq: {error}", err=True)
        sys.exit(1)
    finally:
        _let_go_of_stdout()


def _let_go_of_stdout() -> None:
    """Where nothing more can be written, leave nothing for the interpreter to write: it would end with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
