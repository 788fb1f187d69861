-- prune_usage: forget limits not seen for an hour, but for queues that are there and, for a day, the keys that deny most.
-- index: none; the table is small because this runs
-- rows:  name
delete from pgq.limit_usage as u
where u.seen_at < clock_timestamp() - interval '1 hour'
  and not exists (select 1 from pgq.queues as q where u.name = 'queue:' || q.name)
  and (
    u.seen_at < clock_timestamp() - interval '1 day'
    or u.name not in (
      select top.name
      from pgq.limit_usage as top
      where top.denied > 0
      order by top.denied desc, top.name
      limit 100
    )
  )
returning u.name
