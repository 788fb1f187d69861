-- dash_limits: limits and where they are, those of queues first, then the keys that deny most.
-- index: none, small tables
-- rows:  LimitRow
select name, kind, key, rate_max, rate_per, concurrency, used, running, throttled_until, denied, seen_at
from pgq.limit_stats
order by kind <> 'queue', denied desc, name
limit %(limit)s
