-- scaling: how many slots and workers each queue has and needs.
select queue, slots, busy, backlog, wait, needed_slots, needed_workers
from pgq.autoscale
order by needed_slots desc
