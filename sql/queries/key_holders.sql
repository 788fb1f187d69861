-- key_holders: who holds the unique keys of these tasks.
-- index: primary key, one probe per day and task; unique_keys primary key
-- rows:  id, queue, unique_key, the holder's id or null
select t.id, t.queue, t.unique_key, k.task_id
from pgq.tasks as t
left join pgq.unique_keys as k on k.queue = t.queue and k.key = t.unique_key
where t.id = any(%(ids)s::bigint[])
order by t.id
