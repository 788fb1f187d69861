-- copy_defaults: what a COPY has to say for each row, since it cannot look the queue up.
-- index: queues primary key
-- rows:  one: created_at, scheduled_at, max_attempts, timeout; none when the queue is unknown
select
  clock_timestamp(),
  greatest(clock_timestamp(), coalesce(%(scheduled_at)s::timestamptz,
                                       clock_timestamp() + %(delay)s::double precision * interval '1 second')),
  coalesce(%(max_attempts)s::integer, max_attempts),
  coalesce(%(timeout)s::double precision, timeout)
from pgq.queues
where name = %(queue)s
