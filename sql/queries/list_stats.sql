-- list_stats: the health of one or all queues.
-- index: tasks_claim and tasks_processing for what is alive; counts_queue_minute for what ended
-- rows:  StatsRow
select queue, pending, processing, completed, failed, dead, cancelled, retried, oldest_due_age, paused
from pgq.queue_stats
where (%(queue)s::text is null or queue = %(queue)s)
order by queue
