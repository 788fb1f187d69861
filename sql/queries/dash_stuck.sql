-- dash_stuck: tasks that should have moved and did not, the longest first.
-- index: those of stuck_tasks
-- rows:  Stuck
select id, queue, task, status, reason, since
from pgq.stuck_tasks
order by since, id
limit %(limit)s
