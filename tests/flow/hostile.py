"""Statements that `pgq sql` must not let do anything: each way to change, to wait, to look elsewhere, in each disguise."""

# ruff: noqa: E501, ISC004 - long lists of statements

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

# Whole statements that change something, or try to.
WRITES = [
    "delete from pgq.tasks", "update pgq.tasks set payload = '{}'", "insert into pgq.queues (name) values ('evil')",
    "truncate pgq.tasks", "drop table pgq.tasks cascade", "drop schema pgq cascade", "create table pgq.evil ()",
    "create temp table evil ()", "alter table pgq.tasks add evil int", "select * into evil from pgq.queues",
    "select * into temp evil from pgq.queues", "create table evil as select 1", "copy pgq.tasks to stdout",
    "copy pgq.tasks from stdin", "copy (select 1) to program 'touch /tmp/evil'", "set role postgres",
    "set session authorization postgres", "reset role", "set search_path = public", "set transaction read write",
    "begin", "commit", "rollback", "abort", "end", "savepoint a", "listen pgq", "notify pgq, 'ring:jobs'", "lock pgq.tasks",
    "vacuum pgq.tasks", "analyze pgq.tasks", "cluster pgq.tasks", "reindex table pgq.tasks", "checkpoint",
    "do $$ begin delete from pgq.tasks; end $$", "do 'begin delete from pgq.tasks; end'", "call public.evil_proc()",
    "prepare evil as delete from pgq.tasks", "execute evil", "deallocate all", "discard all",
    "explain analyze delete from pgq.tasks", "explain analyze select pgq.pause('jobs')", "explain select 1",
    "grant all on pgq.tasks to public", "revoke all on pgq.tasks from public", "create role evil superuser",
    "comment on table pgq.tasks is 'evil'", "security label on table pgq.tasks is 'evil'", "merge into pgq.queues q using"
    " pgq.queues r on q.name = r.name when matched then delete", "refresh materialized view evil", "load 'evil'",
    "declare evil cursor with hold for select 1", "fetch all from question", "move 1 in question", "close question",
    "table pgq.tasks", "table pg_authid", "values (pgq.pause('jobs'))", "import foreign schema a from server b into c",
    "with gone as (delete from pgq.tasks returning id) select * from gone",
    "with a as (insert into pgq.queues (name) values ('evil') returning 1) select 1",
    "with a as (update pgq.queues set paused_at = now() returning 1) select * from a",
    "with a as (select 1), b as (delete from pgq.workers returning 1) select * from a, b",
    "select * from (delete from pgq.tasks returning id) as gone", "select * from pgq.tasks for update",
    "select id from pgq.tasks for no key update skip locked", "select id from pgq.tasks for share", "show all",
    "select id from pgq.tasks for key share", "select 1 from pgq.queues limit 1 for update",
]  # fmt: skip
# Expressions that do more than read their arguments.
CALLS = [
    "pg_sleep(30)", "pg_catalog.pg_sleep(30)", '"pg_sleep"(30)', 'pg_catalog."pg_sleep"(30)', "pg_sleep_for('1 min')",
    "pg_sleep_until('2100-01-01')", "PG_SLEEP(30)", "set_config('role', 'postgres', false)", "nextval('pgq.task_id')",
    "setval('pgq.task_id', 1)", "pgq.enqueue('jobs', 'work')", "enqueue('jobs', 'work')", "pgq.cancel(1)", "pgq.retry(1)",
    "pgq.pause('jobs')", "pause('jobs')", "pgq.sample('jobs')", "pgq.drop_partition('tasks_default')",
    "pgq.ring('jobs', 1)", "pg_notify('pgq', 'ring:jobs')", "pg_advisory_lock(1)", "pg_try_advisory_lock(1)",
    "pg_advisory_xact_lock(7366513, 1)", "pg_terminate_backend(pg_backend_pid())", "pg_cancel_backend(1)",
    "pg_reload_conf()", "pg_switch_wal()", "pg_create_restore_point('evil')", "pg_rotate_logfile()", "lo_create(0)",
    "lo_import('/etc/passwd')", "lo_from_bytea(0, '')", "lo_unlink(1)", "pg_read_file('/etc/passwd')", "txid_current()",
    "pg_read_binary_file('/etc/passwd')", "pg_ls_dir('/')", "pg_stat_file('/')", "query_to_xml('select 1', true, true, '')",
    "database_to_xml(true, true, '')", "table_to_xml('pg_authid', true, true, '')", "dblink('', 'delete from pgq.tasks')",
    "dblink_exec('', 'drop schema pgq')", "public.evil()", "evil()", '"public"."evil"()', "public.evil_read()",
    "pg_stat_reset()", "pg_export_snapshot()", "pg_logical_emit_message(true, 'a', 'b')", "pg_promote()", "repeat('x', 9)",
    "currval('pgq.task_id')", "pg_replication_origin_create('evil')", "ts_stat('select 1')", "inet_client_addr()",
    "xpath_table('a', 'b', 'c', 'd', 'e')", "cursor_to_xml('question', 1, true, true, '')", "random()", "gen_random_uuid()",
    "operator(pg_catalog.+)(1, 2)", "(1 operator(pg_catalog.+) 2)", 'U&"\\0070g_sleep"(30)', "U&\"!0070g_sleep\" uescape '!'",
    "E'\\'' || pg_sleep(30)::text", "$$a$$", "$1", "$x$'$x$", "b'1' || pg_sleep(1)::text", "'1'::public.evil_type",
    "cast('1' as public.evil_type)", "public.evil_type '1'",
]  # fmt: skip
# Relations that are nobody's business.
PLACES = [
    "pg_authid", "pg_catalog.pg_authid", '"pg_authid"', '"pg_catalog"."pg_authid"', "pg_shadow", "pg_user_mapping",
    "pg_stat_activity", "pg_largeobject", "information_schema.tables", "public.secrets", "secrets", '"public".secrets',
    "pgq.tasks_default", "pgq.evil", "postgres.pgq.tasks", "PG_AUTHID", "pg_settings", "pgq.migrations, public.secrets",
    "pgq.queues natural join public.secrets", "(select * from public.secrets) as s", "lateral (select * from pg_roles) as r",
    "only public.secrets", "public.secrets *", "public.secrets tablesample system (100)", "rows from (public.evil_read())",
    "json_table('[]', '$[*]' columns (a int))", "(table pg_authid) as t", "pg_authid, (with pg_authid as (select 1) select 1) a",
]  # fmt: skip
FRAMES = [
    "select {}", "select 1 where ({}) is not null", "with a as (select {} as x) select * from a", "values ({})",
    "select * from pgq.queues where ({})::text = 'a'", "select 1 order by {}", "select case when true then {} end",
    "select (select {})", "select count(*) filter (where ({}) is null) from pgq.queues", "select array[{}]",
    "select * from pgq.queues limit ({})::text::int", "select 1 union all select 2 from (select {}) as y",
]  # fmt: skip
DISGUISES = [
    "{}", "{};", "{} -- ;", "-- a\n{}", "/* a */ {}", "select 1; {}", "{}; select 1", "select 1;\n{}", "select 1 -- \n; {}",
    "select 1 --\r; {}", "select 1 /* /* */ ; {} */", "select 1 /* */; {}", "select ';' ; {}", "select '''' ; {}",
    "select $$;$$ ; {}", "select 'a\\' ; {} -- '", "select E'a\\'' ; {} --'", 'select "a""" from ; {}', "({})",
    "with a as materialized ({}) select 1", "select 1 from pgq.queues; commit; {}", "\ufeff{}", "\x0b{}", "{}\x00",
    "select 1)) ; {} --", "select U&'\\0027 ; {} --'", "select 1 where exists ({})", "select * from ({}) as z",
    "select 1 union {}", "{} union select 1", "explain {}", "EXPLAIN (ANALYZE) {}", "prepare p as {}", "{{# {} #}}select 1",
    'select 1 as "; {} --"; {}',
]  # fmt: skip


def statements() -> Iterator[str]:
    """Yield all of them, several thousand."""
    for disguise, write in product(DISGUISES, WRITES):
        yield disguise.replace("{}", write)
    for frame, call in product(FRAMES, CALLS):
        yield frame.replace("{}", call)
    for place in PLACES:
        yield f"select * from {place}"
        yield f"select 1 where exists (select from {place})"
        yield f"with tasks as (select 1) select * from tasks, {place}"
