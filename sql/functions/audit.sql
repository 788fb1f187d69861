-- audit: who steered what, when. Whatever changes what runs is recorded in the same transaction as the change.
--
--   select pgq.record('pause', queue => 'email', note => 'their server is down');
--
-- The functions that steer (pgq.cancel, pgq.retry, pgq.pause, pgq.resume) record themselves; the command line and the
-- dashboard say on whose behalf, plain SQL is recorded as the current user. Upkeep forgets entries after 90 days.

-- Record one action and return its id. `filter` is what was chosen or changed, `count` how many tasks or queues it did change.
create or replace function pgq.record(
  action text,
  queue  text   default null,
  filter jsonb  default null,
  count  bigint default 1,
  note   text   default null,
  actor  text   default null
) returns bigint
language plpgsql
set search_path = pg_catalog, pgq, pg_temp
as $$
#variable_conflict use_column
declare
  entry bigint;
begin
  perform pgq.check_option(record.action <> '', 'action must not be empty'),
    pgq.check_option(record.count >= 0, format('count must be at least 0, got %s', coalesce(record.count::text, 'null')));
  insert into pgq.audit (actor, action, queue, filter, count, note)
  values (coalesce(nullif(record.actor, ''), current_user), record.action, record.queue, record.filter, record.count,
          nullif(record.note, ''))
  returning id into entry;
  return entry;
end
$$;

-- Forget up to `batch` entries that are older than `days`, but nothing of the last 90: who may call this may not erase traces.
-- Returns how many went.
create or replace function pgq.prune_audit(days integer, batch integer) returns bigint
language sql
security definer
set search_path = pg_catalog, pgq, pg_temp
begin atomic
  with gone as (
    delete from pgq.audit as a
    using (
      select o.id
      from pgq.audit as o
      where o.at < clock_timestamp() - greatest(prune_audit.days, 90) * interval '1 day'
      order by o.at
      limit prune_audit.batch
    ) as old
    where a.id = old.id
    returning a.id
  )
  select count(*) from gone;
end;
