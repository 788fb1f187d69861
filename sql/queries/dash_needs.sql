-- dash_needs: what each queue needs so that its backlog drains.
-- index: those of autoscale
-- rows:  Need
select queue, slots, busy, backlog, wait, needed_slots, needed_workers
from pgq.autoscale
order by queue
