-- enqueue_many: add one task per payload in the caller's transaction, and ring once if a worker sleeps.
-- Each payload may have limit keys of its own: `limit_keys` is null, or one array literal per payload.
-- index: queues primary key
-- rows:  one: the ids in the order of the payloads (null when the queue is unknown), whether it rang
with lane as (
  select name, bell, timeout, max_attempts
  from pgq.queues
  where name = %(queue)s
), added as (
  insert into pgq.tasks (queue, task, payload, priority, scheduled_at, max_attempts, timeout, limit_keys, weight, trace)
  select
    lane.name,
    %(task)s,
    p.payload::json,
    %(priority)s,
    greatest(clock_timestamp(), coalesce(%(scheduled_at)s::timestamptz,
                                         clock_timestamp() + %(delay)s::double precision * interval '1 second')),
    coalesce(%(max_attempts)s::integer, lane.max_attempts),
    coalesce(%(timeout)s::double precision, lane.timeout),
    p.keys::text[],
    %(weight)s::integer,
    %(trace)s::text
  from lane
  cross join unnest(%(payloads)s::text[], %(limit_keys)s::text[]) with ordinality as p (payload, keys, place)
  order by p.place
  returning id
), gathered as (
  select array_agg(id order by id) as ids
  from added
)
select gathered.ids, (select pgq.ring(lane.name, lane.bell) from lane)
from gathered
