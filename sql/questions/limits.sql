-- limits: the limits that sent tasks back, the busiest first.
select name, used, rate_max, rate_per, running, concurrency, throttled_until, denied
from pgq.limit_stats
order by denied desc
