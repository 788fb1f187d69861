-- glance: which long-running tasks of one queue are still ours, and which were asked to stop.
-- index: primary key (id, scheduled_at, queue)
-- rows:  id, cancel_requested; a missing id lost its lease
-- The clauses `… + 0` are always true; they keep the planner from expecting so many rows that it reads whole days.
select t.id, t.cancel_requested
from unnest(%(ids)s::bigint[], %(scheduled)s::timestamptz[], %(leases)s::uuid[]) as o (id, scheduled_at, lease)
inner join pgq.tasks as t
  on t.queue = %(queue)s
  and t.id = o.id
  and t.scheduled_at = o.scheduled_at
  and t.lease = o.lease
  and o.id = o.id + 0
  and o.scheduled_at = o.scheduled_at + interval '0'
