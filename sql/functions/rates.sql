-- rates: how fast tasks arrive and end, from what upkeep counted.

-- Tasks per second that arrived and that ended in one or (null) every queue, from the samples of the last 1, 5 and 60
-- minutes, or since the first sample; null where there are none, or none of late.
create or replace function pgq.rates(lane text default null) returns table (
  queue       text,
  arrived_1m  double precision,
  arrived_5m  double precision,
  arrived_60m double precision,
  served_1m   double precision,
  served_5m   double precision,
  served_60m  double precision
)
language plpgsql stable
rows 10
set search_path = pg_catalog, pgq, pg_temp
set enable_seqscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
  return query
  select
    q.name,
    max(r.arrived) filter (where r.minutes = 1),
    max(r.arrived) filter (where r.minutes = 5),
    max(r.arrived) filter (where r.minutes = 60),
    max(r.ended) filter (where r.minutes = 1),
    max(r.ended) filter (where r.minutes = 5),
    max(r.ended) filter (where r.minutes = 60)
  from pgq.queues as q
  cross join lateral (
    select d.seen_at, d.arrived, d.ended
    from pgq.depths as d
    where d.queue = q.name
    order by d.seen_at desc
    limit 1
  ) as last
  cross join lateral (
    select span.minutes, (last.arrived - before.arrived) / before.passed as arrived,
           (last.ended - before.ended) / before.passed as ended
    from (values (1), (5), (60)) as span (minutes)
    cross join lateral (
      select c.arrived, c.ended, extract(epoch from last.seen_at - c.seen_at)::double precision as passed
      from (
        (select d.seen_at, d.arrived, d.ended
         from pgq.depths as d
         where d.queue = q.name and d.seen_at <= last.seen_at - span.minutes * interval '1 minute'
         order by d.seen_at desc
         limit 1)
        union all
        (select d.seen_at, d.arrived, d.ended
         from pgq.depths as d
         where d.queue = q.name and d.seen_at < last.seen_at
         order by d.seen_at
         limit 1)
      ) as c
      order by c.seen_at > last.seen_at - span.minutes * interval '1 minute'
      limit 1
    ) as before
    where last.seen_at > clock_timestamp() - (span.minutes + 1) * interval '1 minute'
  ) as r
  where rates.lane is null or q.name = rates.lane
  group by q.name;
end
$$;
