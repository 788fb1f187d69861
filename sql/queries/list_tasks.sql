-- list_tasks: tasks of one or all queues, newest first; a null condition asks nothing.
-- index: the primary key backwards, or the partial index of the status asked for
-- rows:  TaskRow
select
  t.id, t.queue, t.task, t.status::text as status, t.priority, t.attempts, t.max_attempts, t.created_at, t.scheduled_at,
  t.started_at, t.completed_at, t.worker_id, t.timeout, t.unique_key, t.last_error, t.payload
from pgq.tasks as t
where (%(queue)s::text is null or t.queue = %(queue)s)
  and (%(status)s::text is null or t.status = %(status)s::pgq.status)
  and (%(task)s::text is null or t.task = %(task)s)
order by t.id desc
limit %(limit)s
