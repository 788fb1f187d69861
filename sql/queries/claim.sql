-- claim: take the best due tasks of one queue under one new lease, and count the attempt.
-- index: tasks_claim, once per priority and only as far as rows are taken; then the primary key
-- Both bounds are known only while it runs, on purpose: Postgres 18 crashes where a claim that meets a concurrent
-- change has pruned partitions at its start as well (18.6; a race test holds it).
-- rows:  Task, but for the queue and the lease, which the caller knows; in no order
-- The clauses `… + 0` are always true; they keep the planner from expecting so many rows that it reads whole days.
with best as (
  select ripe.id, ripe.scheduled_at
  from unnest(%(priorities)s::smallint[], %(floors)s::timestamptz[]) as lane (priority, floor)
  cross join lateral (
    select t.id, t.scheduled_at
    from pgq.tasks as t
    where t.queue = %(queue)s
      and t.status = 'pending'
      and t.priority = lane.priority
      and t.scheduled_at >= lane.floor
      and t.scheduled_at <= (select coalesce(%(now)s::timestamptz, statement_timestamp()))
      and t.task = any(%(tasks)s::text[])
    order by t.scheduled_at, t.id
    limit %(count)s
    for no key update skip locked
  ) as ripe
  where exists (select 1 from pgq.workers where id = %(worker_id)s)
    and exists (select 1 from pgq.queues where name = %(queue)s and paused_at is null)
  limit %(count)s
)
update pgq.tasks as t
set
  status = 'processing',
  attempts = t.attempts + 1,
  started_at = clock_timestamp(),
  worker_id = %(worker_id)s,
  throttled_by = null,
  suspect = false,
  lease = %(lease)s
from best
where t.queue = %(queue)s
  and t.id = best.id
  and t.scheduled_at = best.scheduled_at
  and best.id = best.id + 0
  and best.scheduled_at = best.scheduled_at + interval '0'
returning
  t.id, t.scheduled_at, t.task, t.priority, t.payload, t.attempts, t.max_attempts, t.timeout, t.crashes, t.created_at,
  t.limit_keys, t.weight, t.bounces, t.trace
