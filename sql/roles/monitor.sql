-- monitor: the role pgq_monitor may read how it goes, and nothing that may be a secret.
--
-- It reads the views and tables but for: payload, unique_key, traceback and lease of tasks (a lease can end its run), the
-- keys of pgq.unique_keys, and where alerts go: the path of a webhook may be all that guards it. What a handler's exception
-- says (last_error) it may read: without it, nobody could tell what is wrong.

-- Returns whether the role is there.
create or replace function pgq.grant_monitor() returns boolean
language plpgsql
set search_path = pg_catalog, pgq, pg_temp
as $$
declare
  place    record;
  readable text;
begin
  if not exists (select from pg_roles where rolname = 'pgq_monitor') then
    return false;
  end if;
  -- Where all tables, or more of these, were granted by hand, that is somebody's decision.
  for place in
    select c.oid, c.relname
    from pg_class as c
    where c.relnamespace = 'pgq'::regnamespace and c.relkind in ('r', 'p', 'v') and not c.relispartition
  loop
    select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into readable
    from pg_attribute as a
    where a.attrelid = place.oid and a.attnum > 0 and not a.attisdropped
      and a.attname not in ('payload', 'unique_key', 'traceback')
      and not (place.relname = 'tasks' and a.attname = 'lease')
      and not (place.relname = 'unique_keys' and a.attname = 'key')
      and not (place.relname = 'alert_targets' and a.attname = 'settings')
      and not has_column_privilege('pgq_monitor', place.oid, a.attnum, 'select');
    if readable is not null then
      execute format('grant select (%s) on pgq.%I to pgq_monitor', readable, place.relname);
    end if;
  end loop;
  if not has_column_privilege('pgq_monitor', 'pgq.tasks_default', 'priority', 'select') then
    grant select (queue, status, priority, scheduled_at) on pgq.tasks_default to pgq_monitor;
  end if;
  if not has_sequence_privilege('pgq_monitor', 'pgq.task_id', 'select') then
    grant select on sequence pgq.task_id to pgq_monitor;
  end if;
  return true;
end
$$;
