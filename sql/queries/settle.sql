-- settle: write every other outcome of one queue; only rows still under their lease move.
-- index: primary key (id, scheduled_at, queue)
-- rows:  the ids that moved, and how often it rang; a missing one had lost its lease
-- A task that goes back moves to `due`, or `after` seconds from now, or keeps its place where both are null.
-- Handed back before it started, it rings: others may take it at once.
-- One that a limit sent back says which, and rings nobody: it cannot run before it is due. Sent beyond the hour, it was
-- not given a turn yet: that is no bounce.
-- One that was asked to stop ends as cancelled instead of going back.
-- The clauses `… + 0` are always true; they keep the planner from expecting so many rows that it reads whole days.
with done as (
  update pgq.tasks as t
  set
    status = case when o.status = 'pending' and t.cancel_requested then 'cancelled' else o.status end,
    scheduled_at = case
      when o.due is not null then greatest(o.due, clock_timestamp())
      when o.after is not null then clock_timestamp() + o.after * interval '1 second'
      else t.scheduled_at
    end,
    completed_at = case when o.status <> 'pending' or t.cancel_requested then clock_timestamp() end,
    attempts = t.attempts - o.refund,
    bounces = case when o.limit_key is null or o.after > 3600 then t.bounces else least(t.bounces + 1, 32767) end,
    throttled_by = coalesce(o.limit_key, t.throttled_by),
    last_error = coalesce(o.error, t.last_error),
    traceback = case when o.error is null then t.traceback else o.traceback end,
    lease = null
  from unnest(
    %(ids)s::bigint[], %(scheduled)s::timestamptz[], %(leases)s::uuid[], %(statuses)s::pgq.status[],
    %(due)s::timestamptz[], %(after)s::double precision[], %(refunds)s::integer[],
    %(errors)s::text[], %(tracebacks)s::text[], %(limit_keys)s::text[]
  ) as o (id, scheduled_at, lease, status, due, after, refund, error, traceback, limit_key)
  where t.queue = %(queue)s
    and t.id = o.id
    and t.scheduled_at = o.scheduled_at
    and t.lease = o.lease
    and o.id = o.id + 0
    and o.scheduled_at = o.scheduled_at + interval '0'
  returning t.id, t.unique_key, t.status, o.refund, o.limit_key
), freed as (
  delete from pgq.unique_keys as k
  using done
  where k.queue = %(queue)s
    and k.key = done.unique_key
    and k.task_id = done.id
    and done.status <> 'pending'
), counted as (
  insert into pgq.counts (queue, minute, failed, dead, cancelled, retried)
  select
    %(queue)s,
    date_trunc('minute', statement_timestamp()),
    count(*) filter (where status = 'failed'),
    count(*) filter (where status = 'dead'),
    count(*) filter (where status = 'cancelled'),
    count(*) filter (where status = 'pending' and refund = 0)
  from done
  having count(*) filter (where refund = 0 or status <> 'pending') > 0
), rung as (
  select pgq.ring(q.name, q.bell)
  from pgq.queues as q
  where q.name = %(queue)s
    and exists (select 1 from done where status = 'pending' and refund = 1 and limit_key is null)
)
select id, (select count(*) from rung) as rung
from done
