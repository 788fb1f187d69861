"""What holds for all objects of the schema, those of tomorrow too: nothing for PUBLIC, no name that can be shadowed."""

from __future__ import annotations

import psycopg
import pytest
from factory import make_queue, make_task, make_worker
from people import NOBODY, dsn_of
from pooler import OWN_SESSION
from stages import claim, complete

from pgq import migrate
from pgq.connect import connect

PINNED = "search_path=pg_catalog, pgq, pg_temp"
# Called by pgq.enqueue alone, whose search path they run under; a path of their own costs each enqueue microseconds.
INNER = {"check_payload", "check_numbers", "due_time", "check_option", "check_limit_key", "check_limit_keys"}


def test_public_may_nothing(conn: psycopg.Connection) -> None:
    query = """
        select 'schema' from pg_namespace as n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) as a
        where n.nspname = 'pgq' and a.grantee = 0
        union all
        select c.relname from pg_class as c,
          aclexplode(coalesce(c.relacl,
                              acldefault(case c.relkind when 'S' then 's' else 'r' end::"char", c.relowner))) as a
        where c.relnamespace = 'pgq'::regnamespace and a.grantee = 0
        union all
        select c.relname || '.' || t.attname from pg_attribute as t join pg_class as c on c.oid = t.attrelid,
          aclexplode(t.attacl) as a where c.relnamespace = 'pgq'::regnamespace and a.grantee = 0
        union all
        select p.oid::regprocedure::text from pg_proc as p,
          aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as a
        where p.pronamespace = 'pgq'::regnamespace and a.grantee = 0
        union all
        select t.typname from pg_type as t, aclexplode(coalesce(t.typacl, acldefault('T', t.typowner))) as a
        where t.typnamespace = 'pgq'::regnamespace and t.typtype in ('e', 'd') and a.grantee = 0
    """
    assert conn.execute(query).fetchall() == []


def test_each_function_is_bound_when_it_is_made_or_has_a_search_path_of_its_own(conn: psycopg.Connection) -> None:
    query = """
        select p.proname::text, p.prosecdef, p.prosqlbody is not null, p.proconfig @> array[%s]
        from pg_proc as p where p.pronamespace = 'pgq'::regnamespace
    """
    for name, definer, bound, pinned in conn.execute(query, (PINNED,)).fetchall():
        assert pinned or (bound and not definer) or (name in INNER and not definer), name


def test_those_that_run_as_the_owner_are_these(conn: psycopg.Connection) -> None:
    query = "select proname::text from pg_proc where pronamespace = 'pgq'::regnamespace and prosecdef order by 1"
    assert [name for (name,) in conn.execute(query)] == [
        "carry_forward", "drop_partition", "enqueue_keyed", "make_partition", "prune_audit", "seal_partition",
    ]  # fmt: skip


def test_a_function_that_a_later_version_adds_is_for_nobody_after_migrate(
    conn: psycopg.Connection, names: dict[str, str]
) -> None:
    conn.execute("create function pgq.later() returns int language sql as 'select 1'")
    asked = "select bool_or(has_function_privilege(name, 'pgq.later()', 'execute')) from unnest(%s::text[]) as name"
    assert conn.execute(asked, (list(names.values()),)).fetchone() == (True,)
    migrate.migrate(conn)
    assert conn.execute(asked, (list(names.values()),)).fetchone() == (False,)


# What a stranger may make where he may create at all: each would tell on whoever runs it.
TRAP = "returns {0} language plpgsql as $$ begin perform public.spring(current_user); return {1}; end $$"
SHADOWS = [
    "create function {place}.format(text, text) " + TRAP.format("text", "'x'"),
    "create function {place}.format(text, bigint) " + TRAP.format("text", "'x'"),
    "create function {place}.octet_length(text) " + TRAP.format("integer", "0"),
    "create function {place}.clock_timestamp() " + TRAP.format("timestamptz", "null"),
    "create function {place}.pg_notify(text, text) " + TRAP.format("text", "null"),
    "create function {place}.equal(pgq.status, pgq.status) " + TRAP.format("boolean", "true"),
    "create operator {place}.= (leftarg = pgq.status, rightarg = pgq.status, function = {place}.equal)",
    "create operator {place}.<> (leftarg = pgq.status, rightarg = pgq.status, function = {place}.equal)",
    "create function {place}.equal(text, bigint) " + TRAP.format("text", "'x'"),
    "create operator {place}.|| (leftarg = text, rightarg = bigint, function = {place}.equal)",
    "create function {place}.equal(bigint, bigint) " + TRAP.format("boolean", "true"),
    "create operator {place}.= (leftarg = bigint, rightarg = bigint, function = {place}.equal)",
    "create table {place}.tasks (id bigint, queue text, status text)",
    "create table {place}.queues (name text)",
    "create table {place}.pg_roles (rolname text)",
    "create domain {place}.bigint as text",
]


@pytest.fixture
def trapped(conn: psycopg.Connection, dsn: str, names: dict[str, str]) -> psycopg.Connection:
    """A database in whose public schema a stranger made traps; what springs is the name of who ran one."""
    conn.execute("create table public.sprung (who text)")
    conn.execute(
        "create function public.spring(who text) returns void language sql security definer"
        " as $$ insert into public.sprung values (who) $$"
    )
    conn.execute(f"grant create, usage on schema public to {names[NOBODY]}")
    conn.execute(f"grant usage on schema pgq to {names[NOBODY]}")
    conn.execute(f"grant usage on type pgq.status to {names[NOBODY]}")  # he would need that, too
    with psycopg.connect(dsn_of(dsn, names[NOBODY]), autocommit=True) as stranger:
        for text in SHADOWS:
            stranger.execute(text.replace("{place}", "public"))
    return conn


EACH = [
    "select pgq.enqueue('jobs', 'work', '{{}}', delay => '1 hour')",
    "select pgq.enqueue('jobs', 'work', '{{}}'::jsonb, unique_key => 'a', on_conflict => 'replace')",
    "select pgq.enqueue('jobs', 'work', '{{}}'::json, unique_key => 'a', on_conflict => 'replace')",
    "select pgq.enqueue_many('jobs', 'work', array['{{}}']::jsonb[])",
    "select pgq.explain({task})", "select pgq.pause('jobs')", "select pgq.resume('jobs')", "select pgq.cancel({task})",
    "select pgq.retry({task})", "select pgq.sample('jobs')", "select pgq.make_partition('2041-01-01')",
    "select pgq.seal_partition('tasks_20410101')", "select pgq.carry_forward('tasks_20410101', 10)",
    "select pgq.drop_partition('tasks_20410101')", "select pgq.prune_audit(90, 10)",
    "select count(*) from pgq.queue_stats",
    "select count(*) from pgq.health", "select count(*) from pgq.stuck_tasks", "select count(*) from pgq.autoscale",
    "select pgq.grant_roles()",
]  # fmt: skip


@pytest.mark.parametrize("path", ["public, pg_catalog, pgq", "public, pgq", "pg_temp, public"])
def test_what_a_stranger_made_in_public_is_never_run(trapped: psycopg.Connection, path: str) -> None:
    task = make_task(trapped)
    trapped.execute(f"set search_path = {path}")
    for text in EACH:
        trapped.execute(text.format(task=task))
    trapped.execute("reset search_path")
    assert trapped.execute("select distinct who from public.sprung").fetchall() == []


def test_the_traps_do_spring_where_names_are_looked_up_in_public(trapped: psycopg.Connection) -> None:
    trapped.execute("set search_path = public, pg_catalog, pgq")
    trapped.execute("select format('%s', 'x'::text), 'pending'::pgq.status = 'dead'::pgq.status")
    assert trapped.execute("select count(*) from public.sprung").fetchone() == (2,)


def test_what_somebody_made_for_the_session_is_never_run_as_the_owner(
    conn: psycopg.Connection, doors: dict[str, str]
) -> None:
    make_queue(conn)
    conn.execute("create table public.sprung (who text)")
    conn.execute(
        "create function public.spring(who text) returns void language sql security definer"
        " as $$ insert into public.sprung values (who) $$"
    )
    conn.execute("grant usage on schema public to public")
    with psycopg.connect(doors["pgq_worker"], autocommit=True) as worker:
        worker.execute("create temp table tasks (id bigint, queue text, status text)")
        worker.execute("create temp table queues as select * from pgq.queues")
        worker.execute("create temp table partitions as select 'queues'::text as name")
        for text in SHADOWS:
            if "create table" not in text and "pgq.status" not in text:
                worker.execute(text.replace("{place}", "pg_temp"))
        worker.execute("set search_path = pg_temp, public")
        for text in EACH:
            if any(name in text for name in ("enqueue", "sample", "_partition", "carry", "prune")):
                worker.execute(text.format(task=1))
        with pytest.raises(psycopg.Error, match="queues is no partition"):
            worker.execute("select pgq.drop_partition('queues')")
    assert conn.execute("select count(*) from public.sprung").fetchone() == (0,)


def test_nobody_makes_casts_of_the_types_of_the_schema(doors: dict[str, str]) -> None:
    with psycopg.connect(doors["pgq_worker"], autocommit=True) as worker:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            worker.execute("create cast (pgq.status as integer) with inout as implicit")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            worker.execute("create cast (text as bigint) with inout as implicit")


@OWN_SESSION
def test_a_worker_runs_no_operator_that_a_stranger_made(trapped: psycopg.Connection, dsn: str) -> None:
    make_task(trapped, task="work")
    worker = make_worker(trapped)
    sprung = "select count(*) from public.sprung"
    with connect(dsn, "claim") as conn:
        (task,) = claim(conn, worker)
        complete(conn, task)
    assert trapped.execute(sprung).fetchone() == (0,)
    make_task(trapped, task="work")
    trapped.execute("set search_path = public, pg_catalog")  # where the statements themselves are not what protects
    claim(trapped, worker)
    assert trapped.execute(sprung).fetchone() != (0,)
