-- count_dead: how many dead letters are like that, per queue; a null condition asks nothing.
-- index: tasks_dead, or the primary key for given ids
-- rows:  queue, how many
select d.queue, count(*)
from pgq.dead_tasks as d
where (%(ids)s::bigint[] is null or d.id = any(%(ids)s::bigint[]))
  and (%(queue)s::text is null or d.queue = %(queue)s)
  and (%(task)s::text is null or d.task = %(task)s)
  and (%(error)s::text is null or position(lower(%(error)s) in lower(d.last_error)) > 0)
  and (%(older)s::double precision is null or d.died_at <= statement_timestamp() - %(older)s * interval '1 second')
  and (%(newer)s::double precision is null or d.died_at > statement_timestamp() - %(newer)s * interval '1 second')
group by d.queue
order by d.queue
