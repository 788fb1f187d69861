-- prune_attempts: forget failed attempts that are older than the retention of their queue, and than an hour.
-- index: attempts_queue_ended
-- rows:  one: how many went, a thousand of each queue at most
with old as (
  delete from pgq.attempts as a
  using pgq.queues as q
  where a.queue = q.name
    and a.ctid = any(array(
      select o.ctid
      from pgq.attempts as o
      where o.queue = q.name
        and o.ended_at < clock_timestamp() - greatest(q.retention, 3600) * interval '1 second'
      order by o.ended_at
      limit %(batch)s
    ))
  returning a.queue
)
select count(*) as forgotten
from old
