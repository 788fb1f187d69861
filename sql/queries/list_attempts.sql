-- list_attempts: the failed attempts of one task, the first one first.
-- index: attempts_task
-- rows:  AttemptRow
select a.attempt, a.worker, a.started_at, a.ended_at, a.error, a.traceback
from pgq.attempts as a
where a.task_id = %(id)s
order by a.ended_at, a.attempt
