-- workers: worker processes, the silent ones first.
select id, name, queues, running, concurrency, alive, stopping, silent_for
from pgq.worker_stats
order by silent_for desc
