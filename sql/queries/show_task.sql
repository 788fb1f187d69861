-- show_task: all there is to know about one task.
-- index: primary key, one probe per day
-- rows:  TaskDetail, or none
select
  t.id, t.queue, t.task, t.status::text as status, t.priority, t.attempts, t.max_attempts, t.created_at, t.scheduled_at,
  t.started_at, t.completed_at, t.worker_id, t.timeout, t.unique_key, t.last_error, t.payload,
  w.name as worker, t.crashes, t.cancel_requested, t.traceback
from pgq.tasks as t
left join pgq.workers as w on w.id = t.worker_id
where t.id = %(id)s
