-- metric_workers: how many workers there are, and how busy they are, for the metrics.
-- index: none; one row a process
-- rows:  one: alive, stopping, silent, slots, busy
select
  count(*) filter (where w.alive and not w.stopping),
  count(*) filter (where w.alive and w.stopping),
  count(*) filter (where not w.alive),
  coalesce(sum(w.concurrency) filter (where w.alive and not w.stopping), 0),
  coalesce(sum(w.running) filter (where w.alive), 0)
from pgq.worker_stats as w
