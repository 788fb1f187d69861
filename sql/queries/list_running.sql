-- list_running: the tasks that have been running for longest, for the live view.
-- index: tasks_processing
-- rows:  Job
select t.id, t.queue, t.task, t.attempts, extract(epoch from clock_timestamp() - t.started_at)::double precision, w.name
from pgq.tasks as t
left join pgq.workers as w on w.id = t.worker_id
where t.status = 'processing'
order by t.started_at, t.id
limit %(limit)s
