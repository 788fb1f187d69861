-- sample_queues: count what waits and runs in each queue: in none more often than 1 % of the time allows, or 10 % where
-- what waits is not what it was.
-- index: depths primary key; then see pgq.sample, pgq.depth
-- rows:  one: how many queues were counted
select count(pgq.sample(q.name)) as sampled
from pgq.queues as q
left join lateral (
  select d.seen_at, d.took, d.pending, d.due
  from pgq.depths as d
  where d.queue = q.name
  order by d.seen_at desc
  limit 1
) as last on true
where last.seen_at is null
  or last.seen_at + last.took * interval '100 seconds' <= clock_timestamp()
  or last.seen_at + last.took * interval '10 seconds' <= clock_timestamp() and exists (
    select 1
    from pgq.depth(q.name) as now
    where now.estimated
      and (abs(now.pending - last.pending) > last.pending / 10 or abs(now.due - last.due) > last.due / 10)
  )
