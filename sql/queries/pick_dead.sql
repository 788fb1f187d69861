-- pick_dead: the dead letters that a replay takes, in the order they died; a null condition asks nothing.
-- index: tasks_dead, or the primary key for given ids
-- rows:  Picked
select id, queue, task, died_at, last_error
from pgq.dead_tasks
where (%(ids)s::bigint[] is null or id = any(%(ids)s))
  and (%(queue)s::text is null or queue = %(queue)s)
  and (%(task)s::text is null or task = %(task)s)
  and (%(error)s::text is null or position(lower(%(error)s) in lower(last_error)) > 0)
order by died_at, id
