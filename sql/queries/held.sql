-- held: what of one queue runs now, for a limiter that has lost its memory.
-- index: tasks_processing
-- rows:  id, lease, limit_keys, weight, worker_id
select id, lease, limit_keys, coalesce(weight, 1) as weight, worker_id
from pgq.tasks
where queue = %(queue)s
  and status = 'processing'
  and lease is not null
