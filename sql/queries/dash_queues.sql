-- dash_queues: the queues as the dashboard shows them; a null queue asks for all.
-- index: those of queue_stats
-- rows:  QueueRow
select
  queue, paused, pending, processing, completed, failed, dead, cancelled, retried, oldest_due_age, wait_p50, wait_p95,
  run_p50, run_p95, arrived_1m, arrived_60m, served_1m, served_60m, throttled, throttled_until
from pgq.queue_stats
where (%(queue)s::text is null or queue = %(queue)s)
order by queue
