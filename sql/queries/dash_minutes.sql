-- dash_minutes: one queue, or for null all together, minute by minute; waits of all together are the longest.
-- index: those of minutes
-- rows:  Minute
select
  minute,
  sum(arrived)::bigint as arrived,
  sum(completed + failed + dead + cancelled)::bigint as ended,
  sum(dead)::bigint as dead,
  sum(retried)::bigint as retried,
  max(wait_p50) as wait_p50,
  max(wait_p95) as wait_p95,
  sum(depth)::bigint as depth
from pgq.minutes
where (%(queue)s::text is null or queue = %(queue)s)
  and minute >= date_trunc('minute', statement_timestamp()) - interval '3 hours'
group by minute
order by minute
