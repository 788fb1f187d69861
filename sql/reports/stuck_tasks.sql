-- stuck_tasks: tasks that should have moved and did not, each with the reason. Empty when all is well.
--
-- Bounded: it reads what runs, the oldest hundred due tasks of each queue and priority, and the first two hundred unique
-- keys. A reason stands for what is wrong with many: they show one after the other as those before them move.
create or replace view pgq.stuck_tasks as
select t.id, t.queue, t.task, t.status::text as status, t.worker_id,
  case
    when w.id is null then format('its worker %s is gone, and nobody gave the task back: is any worker running?', t.worker_id)
    when not w.alive then format('its worker %s is silent since %s, past its lease, and nobody gave the task back: is any worker running?',
                                 w.name, pgq.spoken(w.heartbeat_at))
    else format('past its timeout of %s s: its handler does not stop, and nobody took the task from worker %s', t.timeout, w.name)
  end as reason,
  case when w.alive then t.started_at + t.timeout * interval '1 second' else coalesce(w.heartbeat_at, t.started_at) end as since
from pgq.queues as q
cross join lateral pgq.running_tasks(q.name) as t
left join pgq.worker_stats as w on w.id = t.worker_id
where (w.id is null and t.started_at < clock_timestamp() - interval '15 seconds')
   or (not w.alive and w.silent_for > w.lease + 15)
   or (w.alive and t.started_at + (t.timeout + 30) * interval '1 second' < clock_timestamp())
union all
select t.id, t.queue, t.task, 'pending', null,
  case
    when not t.task = any(w.known) then format('no live worker of queue %s knows a task named %s: deploy one that does, or cancel it',
                                               t.queue, t.task)
    else format('due, and %s of %s slots of queue %s are free, but none of its tasks ended in the last minute',
                w.slots - w.running, w.slots, t.queue)
  end,
  t.scheduled_at
from pgq.queues as q
cross join lateral (
  select
    sum(v.concurrency) as slots,
    sum(v.running) as running,
    -- Null, so that nothing counts as unknown, where one of them did not say what it knows.
    case when bool_and(v.tasks is not null)
      then array(select u.task from pgq.worker_stats as k cross join lateral unnest(k.tasks) as u (task)
                 where k.alive and not k.stopping and q.name = any(k.queues)) end as known
  from pgq.worker_stats as v
  where v.alive and not v.stopping and q.name = any(v.queues)
  having count(*) > 0
) as w
cross join lateral pgq.overdue_tasks(q.name) as t
where q.paused_at is null
  and (not t.task = any(w.known)
       or (w.running < w.slots and not pgq.moves(q.name) and pgq.explain_limited(q.name, t.limit_keys) is null))
union all
select t.id, t.queue, t.task, t.status::text, null,
  format('it ended, but still holds the unique key of queue %s that it had: enqueueing with that key is refused', t.queue),
  t.completed_at
from (select k.queue, k.task_id from pgq.unique_keys as k limit 200) as k
cross join lateral (
  select o.id, o.queue, o.task, o.status, o.completed_at
  from pgq.tasks as o
  where o.queue = k.queue and o.id = k.task_id
) as t
where t.status not in ('pending', 'processing');

comment on view pgq.stuck_tasks is 'Tasks that should have moved and did not, and why. Empty when all is well.';
comment on column pgq.stuck_tasks.id is 'The task.';
comment on column pgq.stuck_tasks.queue is 'Its queue.';
comment on column pgq.stuck_tasks.task is 'Its name.';
comment on column pgq.stuck_tasks.status is 'Its status.';
comment on column pgq.stuck_tasks.worker_id is 'The worker that holds it; null when none does.';
comment on column pgq.stuck_tasks.reason is 'What is wrong, in a sentence.';
comment on column pgq.stuck_tasks.since is 'Since when.';
