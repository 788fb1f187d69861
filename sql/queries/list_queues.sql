-- list_queues: every queue with its settings as they are now; a null name asks for all.
-- index: queues primary key
-- rows:  QueueRow
select
  name, concurrency, rate_max, rate_per, timeout, max_attempts, backoff, delay, max_delay, jitter, keep_dead, retention,
  on_limiter_down, paused_at is not null as paused, paused_at, updated_at
from pgq.queues
where (%(name)s::text is null or name = %(name)s)
order by name
