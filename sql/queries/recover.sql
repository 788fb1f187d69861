-- recover: give back tasks of one queue whose worker died, or that are past their timeout.
-- index: tasks_processing, from `floor` on; then the primary key
-- rows:  id, status it got, whether its worker died
-- The second look at the workers is for rows that were settled and claimed anew while this waited for their lock.
-- A task of a dead worker keeps its place in the line; an overdue one waits its backoff. Out of attempts: dead.
-- The clauses `… + 0` are always true; they keep the planner from expecting so many rows that it reads whole days.
with lane as (
  select name, bell, backoff, delay, max_delay, keep_dead
  from pgq.queues
  where name = %(queue)s
), lost as (
  select
    t.id,
    t.scheduled_at,
    w.id is null or greatest(w.heartbeat_at, pg_postmaster_start_time()) + w.lease * interval '1 second' < statement_timestamp() as orphaned,
    case
      when t.cancel_requested then 'cancelled'
      when t.attempts < t.max_attempts then 'pending'
      when lane.keep_dead then 'dead'
      else 'failed'
    end::pgq.status as status,
    coalesce(w.name, 'worker ' || t.worker_id) as holder
  from pgq.tasks as t
  cross join lane
  left join pgq.workers as w on w.id = t.worker_id
  where t.queue = %(queue)s
    and t.status = 'processing'
    and t.started_at >= %(floor)s::timestamptz
    and (
      (w.id is null and not exists (select 1 from pgq.workers as now where now.id = t.worker_id))
      or greatest(w.heartbeat_at, pg_postmaster_start_time()) + w.lease * interval '1 second' < statement_timestamp()
      or t.started_at + (t.timeout + %(grace)s) * interval '1 second' < statement_timestamp()
    )
  order by t.scheduled_at, t.id
  limit %(batch)s
  for no key update of t skip locked
), back as (
  update pgq.tasks as t
  set
    status = lost.status,
    scheduled_at = case
      when lost.status = 'pending' and not lost.orphaned then clock_timestamp()
        + pgq.retry_delay(lane.backoff, lane.delay, lane.max_delay, t.attempts) * interval '1 second'
      else t.scheduled_at
    end,
    completed_at = case when lost.status <> 'pending' then clock_timestamp() end,
    crashes = least(t.crashes + lost.orphaned::integer, 32767),
    last_error = case
      when lost.orphaned then lost.holder || ' died while it held this task'
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
  returning t.id, t.unique_key, t.status, lost.orphaned
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
    count(*) filter (where status = 'pending')
  from back
  having count(*) > 0
), rung as (
  select pgq.ring(lane.name, lane.bell)
  from lane
  where exists (select 1 from back where status = 'pending')
)
select back.id, back.status, back.orphaned, (select count(*) from rung) as rung
from back
