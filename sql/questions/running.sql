-- running: what runs now, the longest first.
select t.id, t.queue, t.task, t.attempts, w.name as worker, now() - t.started_at as running_for, t.timeout
from pgq.tasks as t
left join pgq.workers as w on w.id = t.worker_id
where t.status = 'processing'
order by t.started_at
