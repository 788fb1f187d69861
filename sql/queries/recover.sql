-- recover: give back tasks of one queue whose worker died, or that are past their timeout.
-- index: tasks_processing, from `floor` on; then the primary key
-- rows:  id, status it got, whether its worker died
-- The second look at the workers is for rows that were settled and claimed anew while this waited for their lock.
-- A task of a dead worker keeps its place in the line; an overdue one waits its backoff. Out of attempts: dead.
-- The last attempt is given back, not spent, unless the task is `suspect` (see begin): it had not begun, or ran in a
-- process of its own, which cannot have harmed the worker. It counts as a crash, so next it runs in such a process; and
-- a task of three crashes is suspect there too, so that what gets whole machines killed is not tried for ever.
-- What started before the clock was set ahead (before `stepped_at`, by `ahead` seconds) is that much less overdue;
-- what was due when it was claimed is still due after the clock was set back. A server that started in the future says
-- nothing of silences.
-- The clauses `… + 0` are always true; they keep the planner from expecting so many rows that it reads whole days.
with lane as (
  select
    name, bell, backoff, delay, max_delay, keep_dead,
    case when pg_postmaster_start_time() < statement_timestamp() then pg_postmaster_start_time() end as server_start
  from pgq.queues
  where name = %(queue)s
), lost as (
  select
    t.id,
    t.scheduled_at,
    w.id is null or greatest(w.heartbeat_at, lane.server_start) + w.lease * interval '1 second' < statement_timestamp() as orphaned,
    case
      when t.cancel_requested then 'cancelled'
      when t.attempts < t.max_attempts or not t.suspect then 'pending'
      when lane.keep_dead then 'dead'
      else 'failed'
    end::pgq.status as status,
    (t.attempts >= t.max_attempts and not t.suspect and not t.cancel_requested)::integer as refund,
    coalesce(w.name, 'worker ' || t.worker_id, 'its worker') as holder
  from pgq.tasks as t
  cross join lane
  left join pgq.workers as w on w.id = t.worker_id
  where t.queue = %(queue)s
    and t.status = 'processing'
    and t.started_at >= %(floor)s::timestamptz
    and (
      (w.id is null and not exists (select 1 from pgq.workers as now where now.id = t.worker_id))
      or greatest(w.heartbeat_at, lane.server_start) + w.lease * interval '1 second' < statement_timestamp()
      or t.started_at + (t.timeout + %(grace)s + case when t.started_at < %(stepped_at)s then %(ahead)s else 0 end)
        * interval '1 second' < statement_timestamp()
    )
  order by t.scheduled_at, t.id
  limit %(batch)s
  for no key update of t skip locked
), back as (
  update pgq.tasks as t
  set
    status = lost.status,
    scheduled_at = case
      when lost.status = 'pending' and not lost.orphaned and lost.refund = 0 then clock_timestamp()
        + pgq.retry_delay(lane.backoff, lane.delay, lane.max_delay, t.attempts) * interval '1 second'
      else least(t.scheduled_at, clock_timestamp())
    end,
    completed_at = case when lost.status <> 'pending' then clock_timestamp() end,
    attempts = t.attempts - lost.refund,
    crashes = least(t.crashes + (lost.orphaned or lost.refund = 1)::integer, 32767),
    last_error = case
      when lost.orphaned then lost.holder || ' died while it held this task'
      when lost.refund = 1 then 'no answer ' || t.timeout || ' s after it was claimed; its last attempt was given back'
      else 'no answer ' || t.timeout || ' s after it started, its timeout'
    end,
    traceback = null,
    lease = null
  from lost
  cross join lane
  where t.queue = %(queue)s
    and t.id = lost.id
    and t.scheduled_at = lost.scheduled_at
    and lost.id = lost.id + 0
    and lost.scheduled_at = lost.scheduled_at + interval '0'
  returning
    t.id, t.unique_key, t.status, lost.orphaned, lost.refund, t.attempts, t.started_at, t.last_error, lost.holder
), freed as (
  delete from pgq.unique_keys as k
  using back
  where k.queue = %(queue)s
    and k.key = back.unique_key
    and k.task_id = back.id
    and back.status <> 'pending'
), counted as (
  insert into pgq.counts (queue, minute, failed, dead, cancelled, retried)
  select
    %(queue)s,
    date_trunc('minute', statement_timestamp()),
    count(*) filter (where status = 'failed'),
    count(*) filter (where status = 'dead'),
    count(*) filter (where status = 'cancelled'),
    count(*) filter (where status = 'pending' and refund = 0)
  from back
  having count(*) filter (where status <> 'pending' or refund = 0) > 0
), failed as (
  insert into pgq.attempts (task_id, queue, attempt, worker, started_at, error)
  select id, %(queue)s, attempts, holder, started_at, last_error
  from back
  where refund = 0
), enough as (
  delete from pgq.attempts as a
  using back
  where a.queue = %(queue)s
    and a.task_id = back.id
    and a.attempt = back.attempts - 20
), rung as (
  select pgq.ring(lane.name, lane.bell)
  from lane
  where exists (select 1 from back where status = 'pending')
)
select back.id, back.status, back.orphaned, (select count(*) from rung) as rung
from back
