-- slow: how long tasks of each queue wait and run, in seconds, over the last 5 minutes.
select queue, wait_p50, wait_p95, run_p50, run_p95
from pgq.queue_stats
order by wait_p95 desc nulls last
