-- backlog: queues by what is due and not running, and how long the oldest of it has waited.
select queue, due, pending, processing, oldest_due_age, served_1m, arrived_1m, paused
from pgq.queue_stats
where due > 0
order by oldest_due_age desc
