-- dash_task: all there is to know about one task.
-- index: primary key, one probe per day; those of explain
-- rows:  TaskFacts, or none
select
  t.id, t.queue, t.task, t.status::text as status, t.priority, t.attempts, t.max_attempts, t.created_at, t.scheduled_at,
  t.started_at, t.completed_at, t.timeout, t.unique_key, t.limit_keys, t.throttled_by, t.weight, t.bounces, t.crashes,
  t.cancel_requested, t.worker_id, w.name as worker, t.last_error, t.traceback, t.payload,
  pgq.explain(t.id) as explanation
from pgq.tasks as t
left join pgq.workers as w on w.id = t.worker_id
where t.id = %(id)s
