-- list_workers: worker processes, by name.
-- index: none; one row a process
-- rows:  WorkerRow
select
  w.id, w.name, w.host, w.pid, w.queues, w.concurrency, w.running, w.stopping, w.version, w.started_at, w.heartbeat_at,
  w.silent_for, w.alive, w.supervisor, w.scale, w.processes
from pgq.worker_stats as w
where (%(queue)s::text is null or %(queue)s = any(w.queues))
order by w.name, w.id
