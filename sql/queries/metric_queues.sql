-- metric_queues: what waits and runs, and how fast, for the metrics.
-- index: as pgq.queue_stats
-- rows:  queue, then one column for each of QUEUES (pgq/metrics/database.py)
select
  s.queue, s.pending, s.processing, s.paused::integer, coalesce(s.oldest_due_age, 0), s.throttled, s.wait_p50, s.wait_p95,
  s.run_p50, s.run_p95, s.arrived_1m, s.served_1m
from pgq.queue_stats as s
order by s.queue
