-- settle: write every other outcome of one queue; only rows still under their lease move.
-- index: primary key (id, scheduled_at, queue)
-- rows:  the ids that moved, and how often it rang; a missing one had lost its lease
-- A task that goes back moves to `due`, or `after` seconds from now, or keeps its place where both are null.
-- Handed back before it started, at its old place, it rings: others may take it at once. One that runs again later
-- rings nobody: its worker knows when, and looks.
-- One that a limit sent back says which. Sent beyond the hour, it was not given a turn yet: that is no bounce.
-- A failed attempt is told in pgq.attempts, where each task has its last twenty.
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
  returning
    t.id, t.unique_key, t.status, o.refund, o.due is null and o.after is null as kept_place, t.attempts, t.worker_id,
    t.started_at, o.error, o.traceback
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
), failed as (
  insert into pgq.attempts (task_id, queue, attempt, worker, started_at, error, traceback)
  select d.id, %(queue)s, d.attempts, coalesce(w.name, 'worker ' || d.worker_id), d.started_at, d.error, d.traceback
  from done as d
  left join pgq.workers as w on w.id = d.worker_id
  where d.error is not null and d.refund = 0 and d.status <> 'cancelled'
), enough as (
  delete from pgq.attempts as a
  using done as d
  where a.queue = %(queue)s
    and a.task_id = d.id
    and a.attempt = d.attempts - 20
    and d.error is not null
), rung as (
  select pgq.ring(q.name, q.bell)
  from pgq.queues as q
  where q.name = %(queue)s
    and exists (select 1 from done where status = 'pending' and refund = 1 and kept_place)
)
select id, (select count(*) from rung) as rung
from done
