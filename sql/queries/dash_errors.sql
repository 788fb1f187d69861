-- dash_errors: what dead letters that are like that died of, the most frequent first; of the latest `most` of them.
-- index: tasks_dead
-- rows:  queue, task, error, how many
with latest as (
  select d.queue, d.task, left(coalesce(d.last_error, ''), 200) as error
  from pgq.dead_tasks as d
  where (%(queue)s::text is null or d.queue = %(queue)s)
    and (%(task)s::text is null or d.task = %(task)s)
    and (%(error)s::text is null or position(lower(%(error)s) in lower(d.last_error)) > 0)
    and (%(older)s::double precision is null or d.died_at <= statement_timestamp() - %(older)s * interval '1 second')
    and (%(newer)s::double precision is null or d.died_at > statement_timestamp() - %(newer)s * interval '1 second')
  order by d.died_at desc
  limit %(most)s
)
select queue, task, error, count(*)
from latest
group by queue, task, error
order by count(*) desc, queue, task, error
limit %(limit)s
