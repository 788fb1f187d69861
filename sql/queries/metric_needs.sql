-- metric_needs: how many workers each queue needs, for the metrics.
-- index: as pgq.autoscale
-- rows:  queue, workers
select a.queue, a.needed_workers
from pgq.autoscale as a
order by a.queue
