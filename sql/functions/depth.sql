-- depth: how many tasks wait and run in a queue, exactly while that is cheap, and else from the newest sample.
--
--   select * from pgq.depth('email');
--   select pgq.sample('email');          counts everything now, which takes as long as it takes; upkeep calls it
--
-- Dead index entries are what makes counting slow, not only rows. Where the newest sample took long, the live count
-- begins at its floors: what was handed back to an older place since then is missed until the next sample.

-- Count what waits and runs now, and add to the totals what arrived and ended since the last sample: arrivals are the
-- change of what is there plus what ended, so that no enqueue pays for being counted. One statement, one snapshot.
create or replace function pgq.sample(queue text) returns void
language plpgsql
set search_path = pg_catalog, pgq, pg_temp
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  began constant timestamptz := clock_timestamp();
  given constant bigint := pgq.ids_given();
  last  pgq.depths;
  seen  pgq.depths;
  gone  bigint;
begin
  if not exists (select from pgq.queues as q where q.name = sample.queue) then
    raise exception using errcode = 'PQ001', message = format('unknown queue %L', left(sample.queue, 100));
  end if;
  select d.* into last from pgq.depths as d where d.queue = sample.queue order by d.seen_at desc limit 1;
  -- Counts older than three hours are merged further: an origin never gets there.
  last.origin := coalesce(last.origin, '-infinity');
  seen.origin := case when last.origin < began - interval '1 hour'
                     then date_trunc('minute', began - interval '15 minutes') else last.origin end;
  select w.pending, w.due, w.oldest, w.floors, l.throttled, r.processing, coalesce(r.floor, began) - interval '10 seconds',
         e.since_last, e.since_origin
  into seen.pending, seen.due, seen.oldest, seen.floors, seen.throttled, seen.processing, seen.run_floor, gone, seen.base
  from (
    select coalesce(sum(p.pending), 0)::bigint as pending, coalesce(sum(p.due), 0)::bigint as due, min(p.oldest) as oldest,
           array_agg(least(p.oldest, began) - interval '10 seconds' order by lane.priority) as floors,
           array_agg(p.soon order by lane.priority) as soon
    from generate_series(0, 10) as lane (priority)
    left join (
      select t.priority, count(*) as pending, count(*) filter (where t.scheduled_at <= began) as due,
             min(t.scheduled_at) as oldest,
             -- Limits send back by two hours at most.
             count(*) filter (where t.scheduled_at > began and t.scheduled_at < began + interval '130 minutes') as soon
      from pgq.tasks as t
      where t.queue = sample.queue and t.status = 'pending'
      group by t.priority
    ) as p on p.priority = lane.priority
  ) as w
  cross join lateral (
    -- Who was sent back is not in the index: two thousand of each priority stand for the others.
    select coalesce(sum(round(few.throttled * soon.tasks / greatest(few.seen, 1)::numeric)), 0)::bigint as throttled
    from generate_series(0, 10) as lane (priority)
    cross join lateral (select coalesce(w.soon[lane.priority + 1], 0) as tasks) as soon
    cross join lateral (
      select count(*) as seen, count(one.throttled_by) as throttled
      from (
        select t.throttled_by
        from pgq.tasks as t
        where t.queue = sample.queue
          and t.status = 'pending'
          and t.priority = lane.priority::smallint
          and t.scheduled_at > began
          and t.scheduled_at < began + interval '130 minutes'
        order by t.scheduled_at
        limit case when soon.tasks > 0 then 2000 else 0 end
      ) as one
    ) as few
  ) as l
  cross join lateral (
    select count(*) as processing, min(t.started_at) as floor
    from pgq.tasks as t
    where t.queue = sample.queue and t.status = 'processing' and t.started_at >= coalesce(last.run_floor, '-infinity')
  ) as r
  cross join lateral (
    select pgq.ended_since(sample.queue, last.origin) as since_last, pgq.ended_since(sample.queue, seen.origin) as since_origin
  ) as e;
  gone := case when last.origin < began - interval '2 hours' then 0 else gone - last.base end;
  seen.ended := coalesce(last.ended, 0) + greatest(gone, 0);
  seen.arrived := coalesce(last.arrived, 0)
    + greatest(coalesce(seen.pending + seen.processing - (last.pending + last.processing) + gone, 0), 0);
  insert into pgq.depths (queue, seen_at, pending, due, throttled, processing, oldest, floors, run_floor, arrived, ended,
                          origin, base, last_id, took)
  values (sample.queue, began, seen.pending, seen.due, seen.throttled, seen.processing, seen.oldest, seen.floors, seen.run_floor,
          seen.arrived, seen.ended, seen.origin, seen.base, given,
          extract(epoch from clock_timestamp() - began));
end
$$;

-- No count of a queue and an earlier minute is left unmerged, but for a few that committed late: `prune` merges them.
create or replace function pgq.appended_since(queue text) returns timestamptz
language sql stable
begin atomic
  select coalesce((
    select c.minute
    from pgq.counts as c
    where c.queue = appended_since.queue and c.merged
    order by c.minute desc
    limit 1
  ), '-infinity') - interval '3 minutes';
end;

-- How many tasks of a queue have ended, by the counts of this minute and later.
create or replace function pgq.ended_since(queue text, minute timestamptz) returns bigint
language sql stable
begin atomic
  select coalesce(sum(part.ended), 0)::bigint
  from (
    select sum(c.completed + c.failed + c.dead + c.cancelled) as ended
    from pgq.counts as c
    where c.queue = ended_since.queue and c.minute >= ended_since.minute and c.merged
    union all
    select sum(c.completed + c.failed + c.dead + c.cancelled)
    from pgq.counts as c
    where c.queue = ended_since.queue and c.minute >= greatest(ended_since.minute, pgq.appended_since(ended_since.queue)) and not c.merged
  ) as part;
end;

-- What waits and runs in one or (null) every queue: `most` rows of each are counted at most; `cut`: there are more.
--
-- Where the last sample was small and quick, all that waits in a queue is walked at once; else the walk begins at the
-- floors, priority by priority, and ends after one row where there were many: only the oldest is wanted then.
--
-- A bitmap, or a sort, would be of everything that waits, before the first row of it is counted.
create or replace function pgq.walk(lane text default null, most integer default 2000) returns table (
  queue      text,
  pending    bigint,
  due        bigint,
  processing bigint,
  oldest     timestamptz,
  cut        boolean
)
language plpgsql stable
rows 10
set search_path = pg_catalog, pgq, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  until   constant timestamptz := clock_timestamp();
  nowhere constant timestamptz[] := array_fill('-infinity'::timestamptz, array[11]);
begin
  perform pgq.check_option(walk.most >= 1, format('most must be at least 1, got %s', coalesce(walk.most::text, 'null')));
  return query
  select q.name, c.pending, c.due, r.processing, c.oldest, c.cut
  from pgq.queues as q
  left join lateral (
    select d.pending, d.floors, d.run_floor, d.took, d.seen_at > until - interval '5 minutes' as fresh
    from pgq.depths as d
    where d.queue = q.name
    order by d.seen_at desc
    limit 1
  ) as s on true
  cross join lateral (
    select coalesce(s.fresh and (s.took > 0.03 or s.pending >= walk.most), false) as many,
           case when s.fresh and s.pending >= walk.most then 1 else walk.most end as most,
           case when s.fresh and s.took > 0.03 then s.floors else nowhere end as floors
  ) as way
  cross join lateral (
    select count(*) as pending, count(*) filter (where few.scheduled_at <= until) as due, min(few.scheduled_at) as oldest
    from (
      select t.scheduled_at
      from pgq.tasks as t
      where t.queue = q.name
        and t.status = 'pending'
      -- No order is wanted but that of the claim index: the planner would take the primary key, past all that ended.
      order by t.priority, t.scheduled_at
      limit case when way.many then 0 else walk.most end
    ) as few
  ) as quick
  cross join lateral (
    select sum(few.pending)::bigint as pending, sum(few.due)::bigint as due, min(few.oldest) as oldest,
           bool_or(few.pending >= way.most) as cut
    from unnest(case when way.many or quick.pending >= walk.most then way.floors end) with ordinality as l (floor, place)
    cross join lateral (
      select count(*) as pending, count(*) filter (where one.scheduled_at <= until) as due, min(one.scheduled_at) as oldest
      from (
        select t.scheduled_at
        from pgq.tasks as t
        where t.queue = q.name
          and t.status = 'pending'
          and t.priority = (l.place - 1)::smallint
          and t.scheduled_at >= l.floor
        order by t.scheduled_at
        limit case when way.many then way.most else 1 end
      ) as one
    ) as few
  ) as slow
  cross join lateral (
    select greatest(slow.pending, quick.pending) as pending, greatest(slow.due, quick.due) as due,
           least(slow.oldest, quick.oldest) as oldest,
           case when way.many then coalesce(slow.cut, false) else quick.pending >= walk.most end as cut
  ) as c
  cross join lateral (
    select count(*) as processing
    from pgq.tasks as t
    where t.queue = q.name and t.status = 'processing' and t.started_at >= coalesce(s.run_floor, '-infinity')
  ) as r
  where walk.lane is null or q.name = walk.lane;
end
$$;

-- What waits and runs in one or (null) every queue. Where more wait than `most`, pending and due are estimated: the newest
-- sample, with what came and went since. Looking for what came is shared out between the queues that need it.
create or replace function pgq.depth(lane text default null, most integer default 2000) returns table (
  queue      text,
  pending    bigint,
  due        bigint,
  processing bigint,
  throttled  bigint,
  oldest     timestamptz,
  estimated  boolean,
  seen_at    timestamptz
)
language plpgsql stable
rows 10
set search_path = pg_catalog, pgq, pg_temp
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
  perform pgq.check_option(depth.most >= 1, format('most must be at least 1, got %s', coalesce(depth.most::text, 'null')));
  return query
  with walked as materialized (
    select w.queue, w.pending, w.due, w.processing, w.oldest, w.cut, count(*) filter (where w.cut) over () as many
    from pgq.walk(depth.lane, depth.most) as w
  )
  select w.queue, greatest(w.pending, e.pending), greatest(w.due, least(e.due, e.pending)), w.processing,
         coalesce(s.throttled, 0), w.oldest, w.cut, coalesce(case when w.cut then s.seen_at end, clock_timestamp())
  from walked as w
  left join lateral (
    select d.throttled, d.seen_at
    from pgq.depths as d
    where d.queue = w.queue
    order by d.seen_at desc
    limit 1
  ) as s on true
  left join lateral pgq.estimate(case when w.cut then w.queue end, w.processing, greatest(128 / greatest(w.many, 1), 16)::integer) as e on true;
end
$$;
