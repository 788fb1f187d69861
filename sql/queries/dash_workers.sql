-- dash_workers: the worker processes, those that are silent first.
-- index: none, a small table
-- rows:  WorkerRow
select
  id, name, host, pid, queues, concurrency, running, utilisation, stopping, version, started_at, silent_for, alive
from pgq.worker_stats
order by alive, name, id
limit %(limit)s
