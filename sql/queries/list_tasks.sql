-- list_tasks: tasks of one or all queues, newest first; a null condition asks nothing.
-- index: the primary key backwards as far as `floor`, or the partial index of the status asked for
-- rows:  TaskRow
select
  t.id, t.queue, t.task, t.status::text as status, t.priority, t.attempts, t.max_attempts, t.created_at, t.scheduled_at,
  t.started_at, t.completed_at, t.worker_id, t.timeout, t.unique_key, t.last_error, t.payload
from pgq.tasks as t
where (%(queue)s::text is null or t.queue = %(queue)s)
  and (%(status)s::text is null or t.status = %(status)s::pgq.status)
  and (%(task)s::text is null or t.task = %(task)s)
  and (%(error)s::text is null or position(lower(%(error)s) in lower(t.last_error)) > 0)
  and (%(older)s::double precision is null or t.created_at <= statement_timestamp() - %(older)s * interval '1 second')
  and (%(newer)s::double precision is null or t.created_at > statement_timestamp() - %(newer)s * interval '1 second')
  and (%(worker)s::text is null or t.worker_id = any(array(
    select w.id
    from pgq.workers as w
    where %(worker)s in (w.id::text, w.name, w.host)
  )) or t.worker_id::text = %(worker)s)
  and (%(before)s::bigint is null or t.id < %(before)s)
  and (coalesce(%(status)s::text in ('pending', 'processing', 'dead', 'failed'), false) or t.id > %(floor)s::bigint)
order by t.id desc
limit %(limit)s
