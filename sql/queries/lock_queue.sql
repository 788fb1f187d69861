-- lock_queue: the settings of one queue, locked against others who would change them.
-- index: queues primary key
-- rows:  Settings, or none
select
  name, bell, concurrency, rate_max, rate_per, timeout, max_attempts, backoff, delay, max_delay, jitter, keep_dead,
  retention, on_limiter_down, paused_at is not null as paused
from pgq.queues
where name = %(name)s
for no key update
