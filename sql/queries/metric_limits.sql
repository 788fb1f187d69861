-- metric_limits: each queue's limit and how far it is used; of limit keys only how many hold tasks back, per kind.
-- index: none; one row a limit
-- rows:  limit, rate_max, concurrency, used, running, throttled keys (0 for a queue)
select
  case when s.kind = 'queue' then s.name else s.kind end as limit_name,
  max(s.rate_max) filter (where s.kind = 'queue'),
  max(s.concurrency) filter (where s.kind = 'queue'),
  max(s.used) filter (where s.kind = 'queue'),
  max(s.running) filter (where s.kind = 'queue'),
  count(s.throttled_until) filter (where s.kind <> 'queue')
from pgq.limit_stats as s
group by limit_name, s.kind
order by limit_name
