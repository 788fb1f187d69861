-- list_died: the latest dead letters, for the live view.
-- index: tasks_dead
-- rows:  Job
select d.id, d.queue, d.task, d.attempts, extract(epoch from clock_timestamp() - d.died_at)::double precision, d.last_error
from pgq.dead_tasks as d
order by d.died_at desc, d.id desc
limit %(limit)s
