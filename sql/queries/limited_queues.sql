-- limited_queues: every queue that has a limit of its own.
-- index: none; the table is small
-- rows:  name, rate_max, rate_per, concurrency
select name, rate_max, rate_per, concurrency
from pgq.queues
where rate_max is not null
   or concurrency is not null
order by name
