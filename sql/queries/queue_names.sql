-- queue_names: every queue there is.
-- rows:  name
select name
from pgq.queues
order by name
