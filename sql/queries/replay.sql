-- replay: start one dead letter over.
-- index: primary key, one probe per day
-- rows:  its status; none when it is dead no more
select pgq.retry(id) as status
from pgq.dead_tasks
where id = %(id)s
