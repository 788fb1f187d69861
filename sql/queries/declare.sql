-- declare: write the settings that code declares; only where the declaration changed since it was last seen, so that
-- a setting changed by hand stays until somebody changes the code.
-- index: queues primary key
-- rows:  the name, when something was written
insert into pgq.queues as q (
  name, concurrency, rate_max, rate_per, timeout, max_attempts, backoff, delay, max_delay, jitter, keep_dead,
  retention, on_limiter_down, declared
)
select
  %(name)s, d.concurrency, d.rate_max, d.rate_per, d.timeout, d.max_attempts, d.backoff, d.delay, d.max_delay,
  d.jitter, d.keep_dead, d.retention, d.on_limiter_down, %(declared)s::text::jsonb
from jsonb_populate_record(null::pgq.queues, %(declared)s::text::jsonb) as d
on conflict (name) do update
set
  concurrency = excluded.concurrency,
  rate_max = excluded.rate_max,
  rate_per = excluded.rate_per,
  timeout = excluded.timeout,
  max_attempts = excluded.max_attempts,
  backoff = excluded.backoff,
  delay = excluded.delay,
  max_delay = excluded.max_delay,
  jitter = excluded.jitter,
  keep_dead = excluded.keep_dead,
  retention = excluded.retention,
  on_limiter_down = excluded.on_limiter_down,
  declared = excluded.declared,
  updated_at = clock_timestamp()
where q.declared is distinct from excluded.declared
returning name
