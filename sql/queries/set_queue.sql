-- set_queue: write the settings of one queue by hand; what its code declared stays on record.
-- index: queues primary key
-- rows:  the name
update pgq.queues
set
  concurrency = %(concurrency)s,
  rate_max = %(rate_max)s,
  rate_per = %(rate_per)s,
  timeout = %(timeout)s,
  max_attempts = %(max_attempts)s,
  backoff = %(backoff)s,
  delay = %(delay)s,
  max_delay = %(max_delay)s,
  jitter = %(jitter)s,
  keep_dead = %(keep_dead)s,
  retention = %(retention)s,
  on_limiter_down = %(on_limiter_down)s,
  updated_at = clock_timestamp()
where name = %(name)s
returning name
