-- stuck: the bounded looks at tasks from which pgq.stuck_tasks is made. Without bitmaps, which end at no limit.

-- What runs in a queue.
create or replace function pgq.running_tasks(lane text) returns table (
  id bigint, queue text, task text, status pgq.status, worker_id bigint, timeout double precision, started_at timestamptz
)
language plpgsql stable
rows 10
set search_path = pg_catalog, pgq, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
  return query
  select t.id, t.queue, t.task, t.status, t.worker_id, t.timeout, t.started_at
  from pgq.tasks as t
  where t.queue = running_tasks.lane
    and t.status = 'processing'
    and t.started_at >= coalesce((select d.run_floor from pgq.depths as d where d.queue = running_tasks.lane
                                  order by d.seen_at desc limit 1), '-infinity');
end
$$;

-- Tasks of a queue that are due for a minute: the oldest hundred of each priority.
create or replace function pgq.overdue_tasks(lane text) returns table (
  id bigint, queue text, task text, limit_keys text[], scheduled_at timestamptz
)
language plpgsql stable
rows 10
set search_path = pg_catalog, pgq, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  until constant timestamptz := clock_timestamp() - interval '1 minute';
  floors         timestamptz[];
begin
  select d.floors into floors
  from (
    select d.floors, d.took from pgq.depths as d where d.queue = overdue_tasks.lane order by d.seen_at desc limit 1
  ) as d
  where d.took > 0.03;
  return query
  select o.id, o.queue, o.task, o.limit_keys, o.scheduled_at
  from generate_series(0, 10) as level (priority)
  cross join lateral (
    select t.id, t.queue, t.task, t.limit_keys, t.scheduled_at
    from pgq.tasks as t
    where t.queue = overdue_tasks.lane
      and t.status = 'pending'
      and t.priority = level.priority::smallint
      and t.scheduled_at >= coalesce(floors[level.priority + 1], '-infinity')
      and t.scheduled_at < until
    order by t.scheduled_at
    limit 100
  ) as o;
end
$$;

-- Whether any attempt of a queue ended in the last minute or two.
create or replace function pgq.moves(queue text) returns boolean
language sql stable
begin atomic
  select exists (
    select from pgq.counts as c
    where c.queue = moves.queue
      and c.minute >= date_trunc('minute', statement_timestamp()) - interval '1 minute'
      and c.merged and c.completed + c.failed + c.dead + c.cancelled + c.retried > 0
  ) or exists (
    select from pgq.counts as c
    where c.queue = moves.queue
      and c.minute >= date_trunc('minute', statement_timestamp()) - interval '1 minute'
      and not c.merged and c.completed + c.failed + c.dead + c.cancelled + c.retried > 0
  );
end;
