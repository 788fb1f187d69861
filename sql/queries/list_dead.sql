-- list_dead: dead letters, the latest first; a null condition asks nothing.
-- index: tasks_dead, or the primary key for given ids
-- rows:  DeadRow
select
  d.id, d.queue, d.task, d.priority, d.attempts, d.max_attempts, d.crashes, d.created_at, d.died_at, d.last_error,
  d.payload
from pgq.dead_tasks as d
where (%(ids)s::bigint[] is null or d.id = any(%(ids)s::bigint[]))
  and (%(queue)s::text is null or d.queue = %(queue)s)
  and (%(task)s::text is null or d.task = %(task)s)
  and (%(error)s::text is null or position(lower(%(error)s) in lower(d.last_error)) > 0)
  and (%(older)s::double precision is null or d.died_at <= statement_timestamp() - %(older)s * interval '1 second')
  and (%(newer)s::double precision is null or d.died_at > statement_timestamp() - %(newer)s * interval '1 second')
order by d.died_at desc, d.id desc
limit %(limit)s
