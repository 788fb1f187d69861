-- estimate: what waits in a queue too long to be counted at each look: the newest sample, and what came and went since.
--
-- Every task has a number from one sequence, so that it says how many came to all queues since the sample; some
-- of these numbers, looked up, say which share of them came to this one. What went is counted as it ends. No enqueue pays
-- for that. Missed until the next sample: dead letters that were started over, and what a transaction had taken numbers
-- for before the sample but committed after it.

-- The last number that was given to a task; null where the caller may not see it.
create or replace function pgq.ids_given() returns bigint
language sql volatile
set search_path = pg_catalog, pgq, pg_temp
as $$
  select case when has_sequence_privilege('pgq.task_id', 'select') then coalesce(pg_sequence_last_value('pgq.task_id'), 0) end
$$;

-- How many of the tasks with numbers after `after` are of a queue (`due`: are due), and how many numbers have no task:
-- exactly where there are some thousands; else by `looks` looks at four numbers each, one at random in each part of them.
create or replace function pgq.newcomers(
  queue       text,
  after       bigint,
  since       timestamptz,
  looks       integer,
  out arrived bigint,
  out due     bigint,
  out nowhere bigint
)
language plpgsql stable
set search_path = pg_catalog, pgq, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  until constant timestamptz := clock_timestamp();
  given constant bigint := greatest(pgq.ids_given() - greatest(newcomers.after, 0), 0);
  few   constant boolean := given <= 16::bigint * newcomers.looks;
  parts constant integer := case when few then 1 else newcomers.looks end;
  run   constant bigint := case when few then given else 4 end;
  share constant double precision := case when few then 1 else parts * run / nullif(given, 0)::double precision end;
begin
  perform pgq.check_option(newcomers.looks between 1 and 1000,
                           format('looks must be between 1 and 1000, got %s', coalesce(newcomers.looks::text, 'null')));
  select round(count(*) filter (where t.queue = newcomers.queue) / share),
         round(count(*) filter (where t.queue = newcomers.queue and t.scheduled_at <= until) / share),
         given - round(count(*) / share)
  into arrived, due, nowhere
  from (
    -- What is random could not be looked up by an index, were it not a value of its own.
    select newcomers.after + floor((part - 1) * run / share + random() * (run / share - run))::bigint as before
    from generate_series(1, parts) as part
    offset 0
  ) as look
  cross join lateral (
    select one.queue, one.scheduled_at
    from pgq.tasks as one
    where one.id > look.before and one.id <= look.before + run and one.scheduled_at >= newcomers.since
    offset 0
  ) as t;
end
$$;

-- What should wait in a queue now; null where it was never counted. `processing` is what runs in it now.
create or replace function pgq.estimate(
  queue       text,
  processing  bigint,
  looks       integer,
  out pending bigint,
  out due     bigint
)
language plpgsql stable
set search_path = pg_catalog, pgq, pg_temp
as $$
#variable_conflict use_column
declare
  last pgq.depths;
  came record;
  gone bigint;
begin
  if estimate.queue is null then
    return;
  end if;
  select d.* into last from pgq.depths as d where d.queue = estimate.queue order by d.seen_at desc limit 1;
  -- A task is due no sooner than it was enqueued, by the clock of whoever did it.
  select n.arrived, n.due, n.nowhere into came
  from pgq.newcomers(estimate.queue, last.last_id, last.seen_at - interval '1 minute', estimate.looks) as n;
  gone := pgq.ended_since(estimate.queue, last.origin) - last.base;
  -- Numbers without a task may be of those that came, ended, and were deleted then.
  if exists (select from pgq.queues as q where q.name = estimate.queue and q.retention = 0) then
    gone := greatest(gone - coalesce(came.nowhere, 0), 0);
  end if;
  gone := gone + least(greatest(estimate.processing, 0), 1e15::bigint) - last.processing;
  pending := last.pending + coalesce(came.arrived, 0) - gone;
  due := last.due + coalesce(came.due, 0) - gone;
end
$$;
