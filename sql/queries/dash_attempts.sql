-- dash_attempts: the failed attempts of one task, the latest first.
-- index: attempts_task
-- rows:  Attempt
select attempt, worker, started_at, ended_at, error, traceback
from pgq.attempts
where task_id = %(id)s
order by ended_at desc, attempt desc
limit 100
