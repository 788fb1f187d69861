-- settings: the settings of the given queues, as they are now.
-- index: queues primary key
-- rows:  Settings
select
  name, bell, concurrency, rate_max, rate_per, timeout, max_attempts, backoff, delay, max_delay, jitter, keep_dead,
  retention, on_limiter_down, paused_at is not null as paused
from pgq.queues
where name = any(%(queues)s::text[])
order by name
