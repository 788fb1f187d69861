-- list_dead: dead letters, the latest first; a null condition asks nothing.
-- index: tasks_dead
-- rows:  DeadRow
select
  id, queue, task, priority, attempts, max_attempts, crashes, created_at, died_at, last_error, payload
from pgq.dead_tasks
where (%(queue)s::text is null or queue = %(queue)s)
  and (%(task)s::text is null or task = %(task)s)
  and (%(error)s::text is null or position(lower(%(error)s) in lower(last_error)) > 0)
order by died_at desc, id desc
limit %(limit)s
