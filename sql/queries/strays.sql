-- strays: give back tasks of one queue that this process holds without knowing it: their claim's reply was lost.
-- index: tasks_processing
-- rows:  the ids; they never started, so their attempt is not counted
update pgq.tasks as t
set
  status = 'pending',
  attempts = t.attempts - 1,
  lease = null
where t.queue = %(queue)s
  and t.status = 'processing'
  and t.worker_id = %(worker_id)s
  and t.id <> all(%(known)s::bigint[])
returning t.id
