-- queue_stats: one row a queue. Ended tasks come from the per-minute counts, never from the history.
create or replace view pgq.queue_stats as
select
  q.name as queue,
  coalesce(w.pending, 0) as pending,
  coalesce(r.processing, 0) as processing,
  coalesce(c.completed, 0) as completed,
  coalesce(c.failed, 0) as failed,
  coalesce(c.dead, 0) as dead,
  coalesce(c.cancelled, 0) as cancelled,
  coalesce(c.retried, 0) as retried,
  w.oldest_due_age,
  q.paused_at is not null as paused
from pgq.queues as q
left join (
  select queue, count(*) as pending,
         greatest(extract(epoch from clock_timestamp() - min(scheduled_at)), 0)::double precision as oldest_due_age
  from pgq.tasks where status = 'pending' group by queue
) as w on w.queue = q.name
left join (
  select queue, count(*) as processing from pgq.tasks where status = 'processing' group by queue
) as r on r.queue = q.name
left join (
  select queue, sum(completed)::bigint as completed, sum(failed)::bigint as failed, sum(dead)::bigint as dead,
         sum(cancelled)::bigint as cancelled, sum(retried)::bigint as retried
  from pgq.counts where minute > statement_timestamp() - interval '24 hours' group by queue
) as c on c.queue = q.name;

comment on view pgq.queue_stats is 'Queue health: what waits, what runs, what ended in the last 24 hours.';
comment on column pgq.queue_stats.pending is 'Tasks waiting, due or not.';
comment on column pgq.queue_stats.processing is 'Tasks held by workers now.';
comment on column pgq.queue_stats.completed is 'Completed in the last 24 hours.';
comment on column pgq.queue_stats.failed is 'Out of attempts in the last 24 hours, in a queue that keeps no dead letters.';
comment on column pgq.queue_stats.dead is 'Dead-lettered in the last 24 hours.';
comment on column pgq.queue_stats.cancelled is 'Cancelled in the last 24 hours.';
comment on column pgq.queue_stats.retried is 'Failed attempts in the last 24 hours that were tried again.';
comment on column pgq.queue_stats.oldest_due_age is 'Seconds the oldest waiting task is overdue; 0 when the next one is due later.';
comment on column pgq.queue_stats.paused is 'Whether claims are stopped.';
