-- list_limits: the limits of queues, the kinds of keys, and the keys that were seen, those that deny most first.
-- A kind has neither key nor usage; each of its keys has its settings. A null name asks for all.
-- index: limit_usage primary key, or a scan of these small tables
-- rows:  LimitRow
with seen as (
  select
    name, kind, key, rate_max, rate_per, concurrency, used, running, throttled_until, denied, seen_at,
    row_number() over (partition by kind = 'queue' order by denied desc, name) as place
  from pgq.limit_stats
  where (%(name)s::text is null or name = %(name)s)
), known as (
  select name, kind, key, rate_max, rate_per, concurrency, used, running, throttled_until, denied, seen_at
  from seen
  where kind = 'queue' or place <= %(keys)s
  union all
  select name, name, null, rate_max, rate_per, concurrency, null, null, null, null, null
  from pgq.limits
  where (%(name)s::text is null or name = %(name)s)
)
select name, kind, key, rate_max, rate_per, concurrency, used, running, throttled_until, denied, seen_at
from known
order by kind <> 'queue', key is not null, denied desc, name
