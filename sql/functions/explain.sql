-- explain: why one task is not running, or what became of it, in one sentence.
--
--   select pgq.explain(17);      throttled by customer:acme until 2030-01-31 09:00:00+00:00
--
-- Errors: PQ004 no such task. What it says of workers is as of their last heartbeat, of limits as of the last look of
-- upkeep. It reads one task by its id, and at most the thousand tasks before it in its queue.

create or replace function pgq.explain(task_id bigint) returns text
language plpgsql stable
set search_path = pg_catalog, pgq, pg_temp
as $$
declare
  t pgq.tasks;
begin
  -- By name, so that who may not read payloads may ask.
  select x.id, x.queue, x.task, x.status, x.priority, x.scheduled_at, x.started_at, x.completed_at, x.worker_id, x.attempts,
         x.max_attempts, x.timeout, x.cancel_requested, x.limit_keys, x.throttled_by, x.last_error
  into t.id, t.queue, t.task, t.status, t.priority, t.scheduled_at, t.started_at, t.completed_at, t.worker_id, t.attempts,
       t.max_attempts, t.timeout, t.cancel_requested, t.limit_keys, t.throttled_by, t.last_error
  from pgq.tasks as x
  where x.id = explain.task_id;
  if not found then
    raise exception using errcode = 'PQ004', message = format('no task %s', coalesce(explain.task_id::text, 'null'));
  end if;
  return case t.status
    when 'pending' then pgq.explain_waiting(t)
    when 'processing' then pgq.explain_running(t)
    else pgq.explain_ended(t)
  end;
end
$$;

-- A time as sentences say it, in the session's time zone.
create or replace function pgq.spoken(at timestamptz) returns text
language sql stable
begin atomic
  select to_char(at, 'YYYY-MM-DD HH24:MI:SSTZH:TZM');
end;

create or replace function pgq.explain_ended(t pgq.tasks) returns text
language sql stable
set search_path = pg_catalog, pgq, pg_temp
as $$
  select concat_ws(': ',
    t.status || ' at ' || pgq.spoken(t.completed_at)
      || case when t.attempts > 0 then format(', in attempt %s of %s', t.attempts, t.max_attempts) else '' end,
    case when t.status <> 'completed' then t.last_error end)
$$;

create or replace function pgq.explain_running(t pgq.tasks) returns text
language sql stable
set search_path = pg_catalog, pgq, pg_temp
as $$
  select concat_ws(', ',
    format('running since %s, attempt %s of %s', pgq.spoken(t.started_at), t.attempts, t.max_attempts),
    'by worker ' || coalesce(w.name, t.worker_id::text, 'unknown'),
    case when t.cancel_requested then 'asked to stop' end,
    case
      when w.id is null then 'which is gone: the task will be given back'
      when greatest(w.heartbeat_at, case when pg_postmaster_start_time() < clock_timestamp() then pg_postmaster_start_time() end) + w.lease * interval '1 second' < clock_timestamp()
        then format('silent since %s, past its lease of %s s: the task will be given back',
                    pgq.spoken(w.heartbeat_at), w.lease)
      when t.started_at + t.timeout * interval '1 second' < clock_timestamp()
        then format('past its timeout of %s s', t.timeout)
    end)
  from (select t.worker_id) as held
  left join pgq.workers as w on w.id = held.worker_id
$$;

create or replace function pgq.explain_waiting(t pgq.tasks) returns text
language plpgsql stable
set search_path = pg_catalog, pgq, pg_temp
as $$
declare
  lane pgq.queues;
begin
  select * into lane from pgq.queues as q where q.name = t.queue;
  return case
    when lane.name is null then format('queue %s is gone', t.queue)
    when lane.paused_at is not null then format('queue %s is paused since %s', t.queue, pgq.spoken(lane.paused_at))
    when t.scheduled_at > clock_timestamp() then pgq.explain_later(t)
    else coalesce(pgq.explain_busy(t.queue, t.task), pgq.explain_limited(t.queue, t.limit_keys), pgq.explain_place(t))
  end;
end
$$;

create or replace function pgq.explain_later(t pgq.tasks) returns text
language sql stable
set search_path = pg_catalog, pgq, pg_temp
as $$
  select case
    when t.throttled_by is not null
      then format('throttled by %s until %s', t.throttled_by, pgq.spoken(t.scheduled_at))
    when t.attempts > 0 and t.last_error is not null
      then format('attempt %s of %s failed, the next is due at %s: %s',
                  t.attempts, t.max_attempts, pgq.spoken(t.scheduled_at), t.last_error)
    else 'due at ' || pgq.spoken(t.scheduled_at)
  end
$$;

-- Why nobody is there to run a due task of this queue and this name; null when somebody is.
create or replace function pgq.explain_busy(queue text, task text) returns text
language plpgsql stable
set search_path = pg_catalog, pgq, pg_temp
as $$
declare
  members bigint;
  knowing bigint;
  slots   bigint;
  taken   bigint;
begin
  select count(*), count(*) filter (where w.tasks is null or explain_busy.task = any(w.tasks)),
         sum(w.concurrency), sum(w.running)
  into members, knowing, slots, taken
  from pgq.worker_stats as w
  where w.alive and not w.stopping and explain_busy.queue = any(w.queues);
  return case
    when members = 0 then format('due, but no worker serves queue %s', explain_busy.queue)
    when knowing = 0
      then format('due, but no worker that serves queue %s knows a task of the name %s', explain_busy.queue, explain_busy.task)
    when taken >= slots
      then format('due, but all %s slots of the workers that serve queue %s are busy', slots, explain_busy.queue)
  end;
end
$$;

-- Which limit holds a due task of this queue under these keys back; null when none is known to.
create or replace function pgq.explain_limited(queue text, keys text[]) returns text
language plpgsql stable
set search_path = pg_catalog, pgq, pg_temp
as $$
declare
  l     record;
  label text;
  quota text;
begin
  select * into l
  from pgq.limit_stats as s
  where (s.name = 'queue:' || explain_limited.queue or s.name = any(explain_limited.keys))
    and s.seen_at > clock_timestamp() - interval '15 seconds'
    and (s.throttled_until is not null or s.used >= s.rate_max or s.running >= s.concurrency)
  order by s.throttled_until desc nulls last, s.name
  limit 1;
  if not found then
    return null;
  end if;
  label := case l.kind when 'queue' then 'queue ' || l.key else l.name end;
  quota := case
    when l.used >= l.rate_max then format('%s per %s s', l.rate_max, l.rate_per)
    when l.running >= l.concurrency then format('%s at once', l.concurrency)
  end;
  return case
    when quota is null then format('due, but %s lets nothing start until %s', label, pgq.spoken(l.throttled_until))
    when l.throttled_until is null and l.used >= l.rate_max
      then format('due, but %s was at its limit of %s when seen last, at %s', label, quota, pgq.spoken(l.seen_at))
    else 'due, but ' || label || ' is at its limit of ' || quota
      || coalesce(' until ' || pgq.spoken(l.throttled_until), '')
  end;
end
$$;

-- How many due tasks of its queue come before a due task: counted up to a thousand, along the claim index.
create or replace function pgq.explain_place(t pgq.tasks) returns text
language plpgsql stable
set search_path = pg_catalog, pgq, pg_temp
as $$
declare
  most  constant integer := 1000;
  -- A value, so that it bounds the walk; a function that is asked for every row would only filter it.
  until constant timestamptz := clock_timestamp();
  ahead bigint;
begin
  select count(*) into ahead
  from (
    select
    from generate_series(0, t.priority::integer) as lane (priority)
    cross join lateral (
      select
      from pgq.tasks as o
      where o.queue = t.queue
        and o.status = 'pending'
        and o.priority = lane.priority
        and o.scheduled_at <= case when lane.priority = t.priority then t.scheduled_at else until end
        and (lane.priority < t.priority or (o.scheduled_at, o.id) < (t.scheduled_at, t.id))
      order by o.scheduled_at, o.id
      limit most
    ) as earlier
    limit most
  ) as few;
  if ahead < most then
    return format('due; it is number %s of its queue', ahead + 1);
  end if;
  return format('due, behind at least %s others of its queue', most);
end
$$;
