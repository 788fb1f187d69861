-- purge_dead: delete picked dead letters.
-- index: primary key (id, scheduled_at, queue)
-- rows:  id of each that somebody else did not hold or change meanwhile, true
-- Locks: tasks by (scheduled_at, id). A dead letter holds no unique key.
with mine as (
  select t.id, t.scheduled_at, t.queue
  from pgq.tasks as t
  join unnest(%(ids)s::bigint[], %(scheduled)s::timestamptz[], %(queues)s::text[], %(died)s::timestamptz[])
    as o (id, scheduled_at, queue, died_at)
    on t.queue = o.queue and t.id = o.id and t.scheduled_at = o.scheduled_at
  where t.status = 'dead'
    and t.completed_at = o.died_at
  order by t.scheduled_at, t.id
  for update of t skip locked
)
delete from pgq.tasks as t
using mine as m
where t.queue = m.queue
  and t.id = m.id
  and t.scheduled_at = m.scheduled_at
returning t.id, true as purged
