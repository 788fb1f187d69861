-- failing-now: failed attempts of the last hour, the latest first.
select queue, task_id, attempt, worker, ended_at, left(error, 80) as error
from pgq.attempts
where ended_at > now() - interval '1 hour'
order by ended_at desc
