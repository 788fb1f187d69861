-- forget: delete successful runs of a queue that keeps no history; only rows still under their lease go.
-- index: primary key (id, scheduled_at, queue)
-- rows:  the ids that went; a missing one had lost its lease
-- The clauses `… + 0` are always true; they keep the planner from expecting so many rows that it reads whole days.
with done as (
  delete from pgq.tasks as t
  using unnest(%(ids)s::bigint[], %(scheduled)s::timestamptz[], %(leases)s::uuid[]) as o (id, scheduled_at, lease)
  where t.queue = %(queue)s
    and t.id = o.id
    and t.scheduled_at = o.scheduled_at
    and t.lease = o.lease
    and o.id = o.id + 0
    and o.scheduled_at = o.scheduled_at + interval '0'
  returning t.id, t.unique_key
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
