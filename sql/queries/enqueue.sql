-- enqueue: add one task in the caller's transaction, and ring if a worker sleeps.
-- index: queues primary key
-- rows:  the id; none when the queue is unknown
with lane as (
  select name, bell, timeout, max_attempts
  from pgq.queues
  where name = %(queue)s
), added as (
  insert into pgq.tasks (queue, task, payload, priority, scheduled_at, max_attempts, timeout, limit_keys, weight, trace)
  select
    lane.name,
    %(task)s,
    %(payload)s::text::json,
    %(priority)s,
    greatest(clock_timestamp(), coalesce(%(scheduled_at)s::timestamptz,
                                         clock_timestamp() + %(delay)s::double precision * interval '1 second')),
    coalesce(%(max_attempts)s::integer, lane.max_attempts),
    coalesce(%(timeout)s::double precision, lane.timeout),
    %(limit_keys)s::text[],
    %(weight)s::integer,
    %(trace)s::text
  from lane
  returning id
)
select added.id, pgq.ring(lane.name, lane.bell)
from added
cross join lane
