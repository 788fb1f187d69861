-- restrict: a role that enqueues to some queues and sees only these, by row-level security.
--
--   select pgq.restrict('tenant_a', '{email,pdf}');   again, with others, to change them
--   select pgq.unrestrict('tenant_a');
--
-- The role is a member of none of pgq's: it gets here what it needs, to enqueue and to read pgq.tasks, pgq.attempts,
-- pgq.counts and pgq.queues but for payloads, keys, tracebacks and leases. It has no unique keys, for pgq.enqueue_keyed
-- runs as the owner, and no views, which do too. Where nobody is restricted no policy exists, and nothing costs anything; where somebody is,
-- the policy of all others is `true`, which the planner drops. But COPY into pgq.tasks is refused to all under a policy.

create or replace function pgq.restricted_grants() returns setof text
language sql stable
set search_path = pg_catalog, pgq, pg_temp
begin atomic
  select 'usage on schema pgq'
  union all
  select 'usage on sequence pgq.task_id'
  union all
  select format('insert (%s) on pgq.tasks', array_to_string(t.columns, ', '))
  from pgq.table_grants() as t
  where t.role = 'pgq_enqueue' and t.privilege = 'insert'
  union all
  select 'select on pgq.queues, pgq.limits, pgq.counts, pgq.migrations'
  union all
  select format('select (%s) on pgq.%I', string_agg(quote_ident(a.attname), ', ' order by a.attnum), c.relname)
  from pg_class as c
  inner join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  where c.relnamespace = 'pgq'::regnamespace and c.relname in ('tasks', 'attempts')
    and a.attname not in ('payload', 'unique_key', 'traceback', 'lease')
  group by c.relname
  union all
  select format('execute on routine %s', p.oid::regprocedure)
  from pgq.function_grants() as f
  inner join pg_proc as p on p.pronamespace = 'pgq'::regnamespace and p.proname = f.name
  where f.role = 'pgq_enqueue' and f.name <> 'enqueue_keyed';
end;

-- Refuse a role that no policy would bind, or that would see more by another.
create or replace function pgq.check_restricted(name text) returns void
language plpgsql stable
set search_path = pg_catalog, pgq, pg_temp
as $$
declare
  found_role record;
  wider      text;
begin
  select r.oid, r.rolsuper or r.rolbypassrls as unbound into found_role
  from pg_roles as r where r.rolname = check_restricted.name;
  perform pgq.check_option(found_role.oid is not null, format('there is no role %I', check_restricted.name)),
    pgq.check_option(not found_role.unbound, format('role %I is above row-level security', check_restricted.name));
  select string_agg(r.rolname, ', ' order by r.rolname) into wider
  from pg_roles as r
  where r.rolname in ('pgq_admin', 'pgq_enqueue', 'pgq_monitor', 'pgq_worker')
    and pg_has_role(found_role.oid, r.oid, 'member');
  perform pgq.check_option(wider is null, format('role %I would see more as a member of %s: revoke that first',
                                                 check_restricted.name, wider));
end
$$;

create or replace function pgq.restrict(name text, queues text[]) returns void
language plpgsql
set search_path = pg_catalog, pgq, pg_temp
set lock_timeout = '2s'
as $$
declare
  place    record;
  right_of text;
begin
  perform pgq.check_restricted(restrict.name),
    pgq.check_option(cardinality(restrict.queues) > 0 and array_position(restrict.queues, null) is null,
                     'queues must be one or more names');
  for right_of in select g.what from pgq.restricted_grants() as g (what) loop
    execute format('grant %s to %I', right_of, restrict.name);
  end loop;
  for place in
    select c.relname, c.relrowsecurity, case c.relname when 'queues' then 'name' else 'queue' end as queue
    from pg_class as c
    where c.relnamespace = 'pgq'::regnamespace and c.relname in ('tasks', 'attempts', 'counts', 'queues')
    order by c.relname
  loop
    if not place.relrowsecurity then
      execute format('create policy "pgq everybody" on pgq.%I using (true) with check (true)', place.relname);
      execute format('alter table pgq.%I enable row level security, force row level security', place.relname);
    end if;
    execute format('drop policy if exists %I on pgq.%I', 'pgq queues of ' || restrict.name, place.relname);
    execute format('create policy %1$I on pgq.%2$I as restrictive to %3$I'
                   ' using (%4$I = any (%5$L::text[])) with check (%4$I = any (%5$L::text[]))',
                   'pgq queues of ' || restrict.name, place.relname, restrict.name, place.queue, restrict.queues);
  end loop;
end
$$;

-- Take all that away again; where it was the last one restricted, row-level security ends.
create or replace function pgq.unrestrict(name text) returns void
language plpgsql
set search_path = pg_catalog, pgq, pg_temp
set lock_timeout = '2s'
as $$
declare
  place    text;
  right_of text;
begin
  for right_of in select g.what from pgq.restricted_grants() as g (what) loop
    execute format('revoke %s from %I', right_of, unrestrict.name);
  end loop;
  foreach place in array array['attempts', 'counts', 'queues', 'tasks'] loop
    execute format('drop policy if exists %I on pgq.%I', 'pgq queues of ' || unrestrict.name, place);
    if not exists (select from pg_policy where polrelid = format('pgq.%I', place)::regclass and not polpermissive) then
      execute format('drop policy if exists "pgq everybody" on pgq.%I', place);
      execute format('alter table pgq.%I no force row level security, disable row level security', place);
    end if;
  end loop;
end
$$;
