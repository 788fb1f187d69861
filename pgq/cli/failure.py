"""What went wrong, as one sentence on stderr: no traceback, no password."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from pgq.errors import ConfigError, PgqError
from pgq.redact import first_line, without_passwords

INTERRUPTED = 130  # what shells expect after ^C
_NO_SCHEMA = {"3F000", "42P01", "42703", "42883"}  # undefined schema, table, column, function


class Failure(click.ClickException):
    """A command that could not do what it was asked; exit code 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the sentence."""
        click.echo(f"pgq: {self.message}", file=file, err=file is None)


def sentence(error: BaseException) -> Failure | None:
    """Return the failure that an error of ours, of the system or of the database stands for, None for any other."""
    if isinstance(error, PgqError):
        hint = getattr(getattr(error.__context__, "diag", None), "message_hint", None)
        return Failure(f"{error} ({hint})" if hint else str(error))
    if isinstance(error, UnicodeError):
        return Failure("what is given must be valid UTF-8")
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        return Failure(first_line(error))
    driver = sys.modules.get("psycopg")
    if driver is None or not isinstance(error, driver.Error):
        return None
    said = getattr(getattr(error, "diag", None), "message_primary", None) or first_line(error)
    if getattr(error, "sqlstate", None) in _NO_SCHEMA:
        return Failure(f"the schema does not fit this version ({said}): run `pgq migrate`")
    return Failure(f"the database says: {said}")


@contextmanager
def connecting(dsn: str) -> Iterator[None]:
    """Say in one sentence why a connection could not be opened; raises Failure."""
    import psycopg

    try:
        yield
    except psycopg.OperationalError as error:
        said = first_line(error).removeprefix("connection failed: ")
        raise Failure(f"cannot connect: {without_passwords(said, dsn)}") from None


def check_dsn(dsn: str) -> None:
    """Raise ConfigError for a DSN that cannot be read, without quoting it as the driver would."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        raise ConfigError(
            "the DSN cannot be read: write postgresql://user:password@host:5432/database,"
            " special characters of the password as %XX"
        ) from None
