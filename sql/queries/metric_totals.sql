-- metric_totals: all that ever ended, for the metrics.
-- index: as pgq.queue_totals
-- rows:  queue, completed, failed, dead, cancelled, retried
select t.queue, t.completed, t.failed, t.dead, t.cancelled, t.retried
from pgq.queue_totals as t
order by t.queue
