-- dead_tasks: the dead letter queue, newest first when ordered by died_at.
create or replace view pgq.dead_tasks as
select id, queue, task, priority, payload, attempts, max_attempts, crashes, last_error, traceback,
       created_at, started_at, completed_at as died_at, scheduled_at
from pgq.tasks
where status = 'dead';

comment on view pgq.dead_tasks is 'Tasks out of attempts; select pgq.retry(id) starts one over.';
comment on column pgq.dead_tasks.died_at is 'When the last attempt failed.';
comment on column pgq.dead_tasks.last_error is 'What ended the last attempt.';
