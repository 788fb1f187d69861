-- dead_tasks: the dead letter queue, newest first when ordered by died_at.
create or replace view pgq.dead_tasks as
select id, queue, task, priority, payload, attempts, max_attempts, crashes, last_error, traceback,
       created_at, started_at, completed_at as died_at, scheduled_at
from pgq.tasks
where status = 'dead';

comment on view pgq.dead_tasks is 'Tasks out of attempts; select pgq.retry(id) starts one over.';
comment on column pgq.dead_tasks.died_at is 'When the last attempt failed.';
comment on column pgq.dead_tasks.last_error is 'What ended the last attempt.';
comment on column pgq.dead_tasks.id is 'The task: select pgq.retry(id).';
comment on column pgq.dead_tasks.queue is 'Its queue.';
comment on column pgq.dead_tasks.task is 'Its name.';
comment on column pgq.dead_tasks.priority is '0 is most urgent, 10 least.';
comment on column pgq.dead_tasks.payload is 'Keyword arguments of the handler.';
comment on column pgq.dead_tasks.attempts is 'Attempts it took.';
comment on column pgq.dead_tasks.max_attempts is 'Attempts it was allowed.';
comment on column pgq.dead_tasks.crashes is 'How many times the process that held it died.';
comment on column pgq.dead_tasks.traceback is 'Where it was raised.';
comment on column pgq.dead_tasks.created_at is 'When it was enqueued.';
comment on column pgq.dead_tasks.started_at is 'When the last attempt was claimed.';
comment on column pgq.dead_tasks.scheduled_at is 'When the last attempt was due.';
