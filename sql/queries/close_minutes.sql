-- close_minutes: note beside the counts of each minute that is over what arrived in it, what was left, and how long
-- tasks waited and ran.
-- index: depths primary key, timings_queue_minute, counts_merged
-- rows:  queue, minute of each row added
insert into pgq.counts (queue, minute, arrived, depth, wait_p50, wait_p95, run_p50, run_p95)
select q.name, over.minute, after.arrived - before.arrived, after.depth, t.wait_p50, t.wait_p95, t.run_p50, t.run_p95
from (
  select date_trunc('minute', statement_timestamp()) - ago * interval '1 minute' as minute
  from generate_series(1, 3) as ago
) as over
cross join pgq.queues as q
cross join lateral (
  select d.arrived, d.pending + d.processing as depth
  from pgq.depths as d
  where d.queue = q.name
    and d.seen_at >= over.minute
    and d.seen_at < over.minute + interval '1 minute'
  order by d.seen_at desc
  limit 1
) as after
left join lateral (
  select d.arrived
  from pgq.depths as d
  where d.queue = q.name
    and d.seen_at < over.minute
  order by d.seen_at desc
  limit 1
) as before on true
left join lateral pgq.times(over.minute, over.minute + interval '1 minute') as t on t.queue = q.name
where not exists (
  select 1
  from pgq.counts as c
  where c.queue = q.name
    and c.minute = over.minute
    and c.merged
    and c.depth is not null
)
returning queue, minute
