"""The schema: install it, bring it up to date, and tell whether this version can work with it.

Migrations are numbered files, forward only, each applied once in its own transaction. Functions and views are created
or replaced whenever their text changed. One advisory lock makes concurrent calls wait for each other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import psycopg

from pgq import statements
from pgq.errors import SchemaError

# The oldest version of the code that can work with the schema this version installs.
REQUIRES = 1
_ROUTINES = ("functions", "views", "reports", "roles")  # reports are views of views
MINIMUM_SERVER = 140_000

_STATE = """
select
  (select count(*) from pg_namespace where nspname = 'pgq') as schemas,
  to_regclass('pgq.migrations') is not null as ours,
  (select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'pgq')
    + (select count(*) from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname = 'pgq')
    as objects,
  exists (select from pg_proc p join pg_namespace n on n.oid = p.pronamespace
          where n.nspname = 'pgq' and p.proname in ('next_batch', 'register_consumer', 'ticker')) as old_pgq
"""

_MIGRATIONS = """
create schema if not exists pgq;
create table if not exists pgq.migrations (
  version    integer     primary key,
  name       text        not null,
  requires   integer     not null,
  checksum   text        not null,
  applied_at timestamptz not null default clock_timestamp()
);
comment on schema pgq is 'pgq, a task queue: see pgq.tasks, pgq.queues and the view pgq.queue_stats.';
comment on table pgq.migrations is
  'Applied migrations. Row 0 is the functions and views; `requires` is the oldest code version that fits.';
comment on column pgq.migrations.version is 'Its number.';
comment on column pgq.migrations.name is 'Its name.';
comment on column pgq.migrations.requires is 'The oldest version of the code that can work with the schema after it.';
comment on column pgq.migrations.checksum is 'SHA-256 of its text.';
comment on column pgq.migrations.applied_at is 'When it was applied last.';
"""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that migrate does: a numbered migration, or (0) the functions and views."""

    version: int
    name: str
    sql: str
    checksum: str


def steps() -> list[Step]:
    """Return every step in order; the functions and views come last."""
    found = [_step(int(file.name[:4]), file.stem, file.read_text("utf-8")) for file in statements.files("migrations")]
    routines = "\n".join(file.read_text("utf-8") for kind in _ROUTINES for file in statements.files(kind))
    return [*found, _step(0, "functions and views", routines)]


def version() -> int:
    """Return the schema version of this code."""
    return max(step.version for step in steps())


def script() -> str:
    """Return the whole installation as one SQL script, for those who run it by other means."""
    parts = ["begin;", _MIGRATIONS.strip(), *(f"{step.sql.strip()}\n{_record(step)}" for step in steps())]
    return "\n\n".join([*parts, _PARTITIONS, _ROLES, "commit;"]) + "\n"


_PARTITIONS = (
    "select pgq.make_default_partition();\n"
    "select pgq.make_partition(day::date) from generate_series((now() at time zone 'UTC')::date,"
    " (now() at time zone 'UTC')::date + 7, interval '1 day') as day;"
)

_ROLES = "select pgq.grant_roles();"
_MAY_GRANT = "select has_function_privilege('pgq.grant_roles()', 'execute')"


def pending(conn: psycopg.Connection) -> list[Step]:
    """Return the steps that the database lacks. Raises SchemaError for a schema that is not ours or newer."""
    return _missing(conn.execute(_STATE).fetchone(), _applied(conn), conn.info.server_version)


def migrate(conn: psycopg.Connection) -> list[Step]:
    """Bring the schema up to date and return what was applied; safe from many processes at once.

    Raises SchemaError for a schema that is not ours, or newer than this code.
    """
    with conn.transaction():
        conn.execute("select pg_advisory_xact_lock(7366513, -2)")
        todo = pending(conn)
        if todo:
            conn.execute(_MIGRATIONS)
        for step in todo:
            conn.execute(step.sql.encode())
            conn.execute(_record(step).encode())
        if todo:
            conn.execute(_PARTITIONS.encode())
        if todo or conn.execute(_MAY_GRANT).fetchone() == (True,):
            conn.execute(_ROLES.encode())
    return todo


def check(state: Any, applied: dict[int, tuple[str, int]], server: int) -> None:
    """Raise SchemaError, with what to do, unless this code can work with the schema as it is."""
    behind = [step for step in _missing(state, applied, server) if step.version]
    if behind:
        raise SchemaError(f"the schema lacks migration {behind[0].name}: run `pgq migrate`")


async def acheck(conn: psycopg.AsyncConnection) -> None:
    """Do the same over an async connection."""
    state = await (await conn.execute(_STATE)).fetchone()
    rows: list[Any] = []
    if state is not None and state[1]:
        rows = await (await conn.execute("select version, checksum, requires from pgq.migrations")).fetchall()
    check(state, {row[0]: (row[1], row[2]) for row in rows}, conn.info.server_version)


NEEDED = "(select max(requires) from pgq.migrations)"  # what `refuse_newer` takes, as an SQL expression


def refuse_newer(needed: int | None) -> None:
    """Raise SchemaError when the schema needs a newer version of the code than this."""
    if needed is not None and needed > version():
        raise SchemaError(
            f"the schema is newer: it needs version {needed} of the code, this is {version()}: upgrade pgq-tasks"
        )


def _applied(conn: psycopg.Connection) -> dict[int, tuple[str, int]]:
    if conn.execute("select to_regclass('pgq.migrations')").fetchone() == (None,):
        return {}
    rows = conn.execute("select version, checksum, requires from pgq.migrations").fetchall()
    return {row[0]: (row[1], row[2]) for row in rows}


def _missing(state: Any, applied: dict[int, tuple[str, int]], server: int) -> list[Step]:
    schemas, ours, objects, old_pgq = state
    if server < MINIMUM_SERVER:
        raise SchemaError(f"Postgres 14 or newer is needed, this server is {server // 10_000}")
    if old_pgq and not ours:
        raise SchemaError("schema pgq belongs to an installation of PgQ (Skytools): use another database")
    if schemas and not ours and objects:
        raise SchemaError(f"schema pgq exists and is not ours ({objects} objects): use another database")
    refuse_newer(max((needed for _, needed in applied.values()), default=None))
    ahead = max(applied, default=0) > version()  # by a release that goes on serving this one: its functions stay
    return [
        step
        for step in steps()
        if step.version not in applied or (step.version == 0 and not ahead and applied[0][0] != step.checksum)
    ]


def _record(step: Step) -> str:
    return (
        "insert into pgq.migrations (version, name, requires, checksum) values"  # noqa: S608 - our own file names
        f" ({step.version}, '{step.name}', {REQUIRES}, '{step.checksum}') on conflict (version) do update"
        " set checksum = excluded.checksum, applied_at = clock_timestamp();"
    )


def _step(number: int, name: str, sql: str) -> Step:
    return Step(number, name, sql, hashlib.sha256(sql.encode()).hexdigest())
