-- complete_in: record one successful run inside the handler's own transaction, or delete the task where its queue
-- keeps no history; only while it is still under its lease.
-- index: primary key (id, scheduled_at, queue)
-- rows:  the id; none when the lease was lost
with lane as (
  select retention = 0 as forgets
  from pgq.queues
  where name = %(queue)s
), kept as (
  update pgq.tasks as t
  set
    status = 'completed',
    completed_at = clock_timestamp(),
    lease = null
  where t.queue = %(queue)s
    and t.id = %(id)s
    and t.scheduled_at = %(scheduled_at)s
    and t.lease = %(lease)s::uuid
    and not coalesce((select forgets from lane), false)
  returning t.id, t.unique_key
), gone as (
  delete from pgq.tasks as t
  where t.queue = %(queue)s
    and t.id = %(id)s
    and t.scheduled_at = %(scheduled_at)s
    and t.lease = %(lease)s::uuid
    and (select forgets from lane)
  returning t.id, t.unique_key
), done as (
  select id, unique_key from kept
  union all
  select id, unique_key from gone
), freed as (
  delete from pgq.unique_keys as k
  using done
  where k.queue = %(queue)s
    and k.key = done.unique_key
    and k.task_id = done.id
), counted as (
  insert into pgq.counts (queue, minute, completed)
  select %(queue)s, date_trunc('minute', statement_timestamp()), count(*)
  from done
  having count(*) > 0
)
select id
from done
