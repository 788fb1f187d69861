-- dash_dead: dead letters that are like that, the latest first; a null condition asks nothing.
-- index: tasks_dead
-- rows:  Letter
select d.id, d.queue, d.task, d.attempts, d.max_attempts, d.created_at, d.died_at, left(d.last_error, 300) as last_error
from pgq.dead_tasks as d
where (%(queue)s::text is null or d.queue = %(queue)s)
  and (%(task)s::text is null or d.task = %(task)s)
  and (%(error)s::text is null or position(lower(%(error)s) in lower(d.last_error)) > 0)
  and (%(older)s::double precision is null or d.died_at <= statement_timestamp() - %(older)s * interval '1 second')
  and (%(newer)s::double precision is null or d.died_at > statement_timestamp() - %(newer)s * interval '1 second')
order by d.died_at desc, d.id desc
limit %(limit)s
