-- list_stats: the health of one or all queues.
-- index: tasks_claim and tasks_processing for what is alive; counts_queue_minute for what ended
-- rows:  StatsRow
select
  s.queue, s.pending, s.processing, s.completed, s.failed, s.dead, s.cancelled, s.retried, s.oldest_due_age, s.paused,
  s.due, s.throttled, s.throttled_until, s.wait_p50, s.wait_p95, s.run_p50, s.run_p95, s.arrived_1m, s.arrived_5m,
  s.arrived_60m, s.served_1m, s.served_5m, s.served_60m, s.estimated, s.seen_at
from pgq.queue_stats as s
where (%(queue)s::text is null or s.queue = %(queue)s)
order by s.queue
