-- pick_dead: the next dead letters that are like that, in the order they died; a null condition asks nothing.
-- index: tasks_dead, or the primary key for given ids
-- rows:  Picked
select d.id, d.scheduled_at, d.queue, d.died_at
from pgq.dead_tasks as d
where (%(ids)s::bigint[] is null or d.id = any(%(ids)s::bigint[]))
  and (%(queue)s::text is null or d.queue = %(queue)s)
  and (%(task)s::text is null or d.task = %(task)s)
  and (%(error)s::text is null or position(lower(%(error)s) in lower(d.last_error)) > 0)
  and (%(older)s::double precision is null or d.died_at <= %(now)s - %(older)s * interval '1 second')
  and (%(newer)s::double precision is null or d.died_at > %(now)s - %(newer)s * interval '1 second')
  and d.died_at <= %(now)s
  and (%(after)s::timestamptz is null or (d.died_at, d.id) > (%(after)s::timestamptz, %(after_id)s::bigint))
order by d.died_at, d.id
limit %(batch)s
