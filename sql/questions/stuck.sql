-- stuck: tasks that should have moved and did not, and why.
select id, queue, task, status, since, reason
from pgq.stuck_tasks
order by since
