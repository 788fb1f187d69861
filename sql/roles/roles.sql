-- roles: pgq_enqueue, pgq_worker, pgq_monitor and pgq_admin, group roles that nobody logs in as: grant them to those who do.
--
-- Roles belong to the whole cluster: another database may make one at this moment, and who migrates may not be allowed to.
-- Then nothing is lost but the role; `pgq doctor` says what to do. Called at each `pgq migrate`; does only what is missing.

-- Make a role unless it is there; returns whether it is there now.
create or replace function pgq.make_role(role text) returns boolean
language plpgsql
set search_path = pg_catalog, pgq, pg_temp
as $$
begin
  if not exists (select from pg_roles as r where r.rolname = make_role.role) then
    execute format('create role %I nologin', make_role.role);
  end if;
  return true;
exception
  when insufficient_privilege then return false;
  when duplicate_object or unique_violation then return true;
end
$$;

-- Make one role a member of another, if both are there. Another database may be granting it at this moment.
create or replace function pgq.make_member(role text, member text) returns void
language plpgsql
set search_path = pg_catalog, pgq, pg_temp
as $$
begin
  if exists (select from pg_roles as r where r.rolname = make_member.member)
    and exists (select from pg_roles as r where r.rolname = make_member.role)
    and not pg_has_role(make_member.member, make_member.role, 'member')
  then
    execute format('grant %I to %I', make_member.role, make_member.member);
  end if;
exception when insufficient_privilege or internal_error or unique_violation then
  null;
end
$$;

-- Nobody may call a function, or use a type, of this schema because he is anybody. New functions come with that right.
create or replace function pgq.revoke_public() returns void
language plpgsql
set search_path = pg_catalog, pgq, pg_temp
as $$
declare
  signature text;
begin
  for signature in
    select p.oid::regprocedure
    from pg_proc as p
    cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as a
    where p.pronamespace = 'pgq'::regnamespace and a.grantee = 0
  loop
    execute format('revoke all on routine %s from public', signature);
  end loop;
  for signature in
    select t.oid::regtype
    from pg_type as t
    cross join lateral aclexplode(coalesce(t.typacl, acldefault('T', t.typowner))) as a
    where t.typnamespace = 'pgq'::regnamespace and t.typtype in ('e', 'd') and a.grantee = 0
  loop
    execute format('revoke all on type %s from public', signature);
  end loop;
end
$$;

-- The statements that give the roles what they lack of pgq.table_grants() and pgq.function_grants().
create or replace function pgq.missing_grants() returns setof text
language sql stable
set search_path = pg_catalog, pgq, pg_temp
begin atomic
  select format('grant usage on schema pgq to %I', r.rolname)
  from pg_roles as r
  where r.rolname in ('pgq_enqueue', 'pgq_worker', 'pgq_monitor', 'pgq_admin')
    and not has_schema_privilege(r.oid, 'pgq', 'usage')
  union all
  select 'grant usage on sequence pgq.task_id to pgq_enqueue'
  from pg_roles as r
  where r.rolname = 'pgq_enqueue' and not has_sequence_privilege(r.oid, 'pgq.task_id', 'usage')
  union all
  select format('grant %s on pgq.%I to %I', trim(p.privilege), t.relation, t.role)
  from pgq.table_grants() as t
  inner join pg_roles as r on r.rolname = t.role
  cross join lateral string_to_table(t.privilege, ',') as p (privilege)
  where t.columns is null and not has_table_privilege(r.oid, format('pgq.%I', t.relation), trim(p.privilege))
  union all
  select format('grant %s (%s) on pgq.%I to %I', t.privilege, string_agg(quote_ident(c.name), ', '), t.relation, t.role)
  from pgq.table_grants() as t
  inner join pg_roles as r on r.rolname = t.role
  cross join lateral unnest(t.columns) as c (name)
  where not has_column_privilege(r.oid, format('pgq.%I', t.relation), c.name, t.privilege)
  group by t.role, t.relation, t.privilege
  union all
  select format('grant execute on routine %s to %I', p.oid::regprocedure, f.role)
  from pgq.function_grants() as f
  inner join pg_roles as r on r.rolname = f.role
  inner join pg_proc as p on p.pronamespace = 'pgq'::regnamespace and p.proname = f.name
  where not has_function_privilege(r.oid, p.oid, 'execute');
end;

-- Make and equip the roles; returns those that are not there, because who migrates may not make them.
create or replace function pgq.grant_roles() returns text[]
language plpgsql
set search_path = pg_catalog, pgq, pg_temp
as $$
declare
  name    text;
  missing text[] := '{}';
begin
  foreach name in array array['pgq_monitor', 'pgq_enqueue', 'pgq_worker', 'pgq_admin'] loop
    if not pgq.make_role(name) then
      missing := missing || name;
    end if;
  end loop;
  perform pgq.make_member('pgq_monitor', 'pgq_worker'), pgq.make_member('pgq_monitor', 'pgq_admin'),
    pgq.make_member('pgq_enqueue', 'pgq_worker'), pgq.make_member('pgq_enqueue', 'pgq_admin'),
    -- So that pgq.health tells of everybody's transactions.
    pgq.make_member('pg_read_all_stats', 'pgq_monitor');
  begin
    perform pgq.revoke_public(), pgq.grant_monitor();
    for name in select g.statement from pgq.missing_grants() as g (statement) loop
      execute name;
    end loop;
  exception when insufficient_privilege then
    null;
  end;
  return missing;
end
$$;
